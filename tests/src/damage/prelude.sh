# Words that the scripts of damages share. None of them is known to the product.
profile=/nix/var/nix/profiles/nixctl
units=/etc/systemd/system
conf=/etc/nix/nix.conf
db=/nix/var/nix/db

# The path in the store whose name begins so: `in_store nix-2`.
in_store() {
    for path in /nix/store/*-"$1"*; do
        case $path in
        *.drv) ;;
        *) echo "$path" && return ;;
        esac
    done
}

# Everything of nix-daemon ends, as it does when nobody has used Nix for a while.
rest() {
    systemctl stop nix-daemon.socket nix-daemon.service
}

# The daemon runs: somebody asks it something.
wake() {
    systemctl start nix-daemon.socket nix-daemon.service
}

active() {
    systemctl --quiet is-active "$1"
}

enabled() {
    systemctl --quiet is-enabled "$1"
}

# Takes the lines that put Nix on PATH out of a start-up file, as an update does that writes it anew.
without_nix() {
    sed -i -z "s/\\n# Nix\\n.*# End nixctl\\n\\n//" "$1"
}

# Whether a login shell of this kind lacks Nix: `no_nix_in zsh -ic`.
no_nix_in() {
    ! runuser --login --shell "/bin/$1" bob --command 'command -v nix-build' >/dev/null 2>&1
}

# Whether an interactive shell of this kind that is no login shell lacks it.
no_nix_typed_in() {
    ! runuser --user bob -- env -i HOME=/home/bob USER=bob TERM=dumb PATH=/usr/bin:/bin "/bin/$1" -ic \
        'command -v nix-build' >/dev/null 2>&1
}

# The settings that Nix itself takes are shown, or its error.
settings() {
    HOME=/root "$profile/bin/nix" --extra-experimental-features nix-command config show 2>&1
}

# Nix's database is one, and can be read to its end.
sound_database() {
    test "$(sqlite3 -readonly $db/db.sqlite 'pragma quick_check')" = ok &&
        sqlite3 -readonly $db/db.sqlite 'select * from ValidPaths; select * from Refs'
}

# Every path in the store is in the database.
all_registered() {
    sqlite3 -readonly $db/db.sqlite 'select path from ValidPaths' | sort >/var/tmp/registered
    find /nix/store -mindepth 1 -maxdepth 1 ! -name '*.lock' ! -name .links | sort >/var/tmp/there
    test -s /var/tmp/registered && test -z "$(comm -13 /var/tmp/registered /var/tmp/there)"
}

# All of the store's file system but what builds leave, a line each; folders without their size.
listing() {
    traces='^/nix/var/(log|nix/(db|gcroots/auto|temproots|gc.lock|userpool))(/|$)'
    find /nix -mindepth 1 -regextype egrep -regex "$traces.*" -prune -o \
        -type d -printf '%p: folder %m %U:%G\n' -o -printf '%p: %y %m %U:%G %s %l\n'
}
