# Runs inside a new image as root. Makes the users, and a first boot that finds nothing to complain.
setup() {
    set -eu
    for user in alice bob carol; do
        useradd --create-home --shell /bin/bash "$user"
    done
    # carol is the administrator of polkit and sudo, with a password to type.
    getent group sudo >/dev/null || groupadd --system sudo
    usermod --append --groups sudo carol
    echo carol:carol | chpasswd
    # An empty file: every machine makes its own identity at its first boot.
    : >/etc/machine-id
    rm -f /etc/hostname /etc/resolv.conf /var/lib/dbus/machine-id
    echo '127.0.0.1 localhost' >/etc/hosts
    [ "$1" = system ] || return 0

    # The journal survives a reboot; nobody logs in on a console; nothing fetches updates.
    mkdir -p /var/log/journal /etc/systemd/journald.conf.d
    printf '[Journal]\nSystemMaxUse=64M\nRateLimitIntervalSec=0\n' \
        >/etc/systemd/journald.conf.d/lab.conf
    # Syncing the journal is most of a boot's time here, and no test is about it.
    systemctl mask --quiet console-getty.service getty.target systemd-journal-catalog-update.service \
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer man-db.timer e2scrub_all.timer \
        e2scrub_reap.service fstrim.timer systemd-firstboot.service ldconfig.service
    # What systemd would do at the first boot of a changed /etc and /usr, done now.
    systemd-sysusers
    systemd-tmpfiles --create --exclude-prefix=/proc --exclude-prefix=/sys --exclude-prefix=/dev \
        --exclude-prefix=/run --exclude-prefix=/tmp || true
    touch /etc/.updated /var/.updated
}
