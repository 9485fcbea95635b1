# What the people of a machine have made their own before anything breaks: all of it is there, byte
# for byte, after every repair.
set -eu
sed -i '1i # the first line is mine' /etc/bash.bashrc
printf "\nalias mine='echo mine'\n" >>/etc/bash.bashrc
printf "\nalias mine='echo mine'\n" >>/etc/zsh/zshrc
printf '\n# cores for the others\ncores = 2   # two\n' >>/etc/nix/nix.conf
printf 'keep-outputs = true\n' >/etc/nix/nix.custom.conf
mkdir -p /etc/systemd/system/nix-daemon.service.d
printf '[Service]\nEnvironment=MINE=1\n' >/etc/systemd/system/nix-daemon.service.d/mine.conf
mkdir -p /etc/nix/mine
echo precious >/etc/nix/mine/file
systemctl daemon-reload
systemctl start nix-daemon.socket
systemctl restart nix-daemon.service
# bob has used fish once, which makes its folders.
runuser --login --shell /bin/fish bob --command true
# What bob has installed for himself.
busybox=$(echo /nix/store/*-busybox-static-*)
runuser --login bob --command "nix-env --quiet --install $busybox"
# What looks build, with another name each time.
cat >/var/tmp/look.nix <<END
{ name }:
derivation {
  inherit name;
  system = builtins.currentSystem;
  builder = "\${builtins.storePath $busybox}/bin/sh";
  args = [ "-c" "echo \$name is built >\$out" ];
}
END
