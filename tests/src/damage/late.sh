# The disk of the store is not there at boot; `disk-comes.service` makes it come. A service needs it,
# as somebody's server from the store would.
set -eu
busybox=$(in_store busybox-static)
cat >$units/disk-comes.service <<END
[Unit]
Description=The disk of the store comes

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/ln -s /dev/lab-disk /srv/disk
ExecStart=/bin/touch /run/disk-came
END
cat >$units/from-the-store.service <<END
[Unit]
Description=A server from the store

[Service]
ExecStart=$busybox/bin/sleep 1000000

[Install]
WantedBy=multi-user.target
END
if [ $kind = unit ]; then
    sed -i '/ \/nix /d' /etc/fstab
    cat >$units/nix.mount <<END
[Mount]
What=/srv/disk
Where=/nix
Type=ext4

[Install]
WantedBy=multi-user.target
END
    systemctl daemon-reload
    systemctl --quiet enable nix.mount
fi
systemctl daemon-reload
systemctl --quiet enable from-the-store.service
# Gone at the next boot; what is mounted now stays until then.
rm /srv/disk
