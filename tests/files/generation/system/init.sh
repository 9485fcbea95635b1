#!@busybox-static@/bin/sh
# What the boot runs as process 1 once /nix is there: this generation becomes the machine's, then
# systemd takes over.
systemConfig=@out@
export PATH=@busybox-static@/bin
echo "booting @label@"
ln -sfn "$systemConfig" /run/booted-system
"$systemConfig/activate"
ln -sfn /run/booted-system /nix/var/nix/gcroots/booted-system
unset PATH
exec @systemd@/lib/systemd/systemd "$@"
