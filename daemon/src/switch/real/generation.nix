# A toy generation of a system for the tests: two services, a few files, two packages.
# BUSYBOX and VERSION are put in by the test.
let
  busybox = builtins.storePath "BUSYBOX";
  make = name: script: derivation {
    inherit name;
    system = builtins.currentSystem;
    builder = "${busybox}/bin/sh";
    PATH = "${busybox}/bin";
    args = [ "-c" ("set -e\n" + script) ];
  };
in
rec {
  libc = make "libc-VERSION" "mkdir $out; echo VERSION > $out/libc";
  package = name: make "${name}-VERSION" ''
    mkdir -p $out/bin $out/share/doc
    printf '#!${busybox}/bin/sh\ncat ${libc}/libc\n' > $out/bin/${name}
    chmod +x $out/bin/${name}
    echo ${name} > $out/share/doc/${name}
  '';
  a = package "a";
  b = package "b";
  unit = name: program: make "unit-${name}.service" ''
    mkdir $out
    printf '[Service]\nExecStart=%s\n' ${program}/bin/${name} > $out/${name}.service
  '';
  unit-a = unit "a" a;
  unit-b = unit "b" b;
  units = make "system-units" ''
    mkdir -p $out/multi-user.target.wants
    ln -s ${unit-a}/a.service ${unit-b}/b.service $out
    ln -s ../a.service ../b.service $out/multi-user.target.wants
  '';
  conf = make "etc-a.conf" "echo conf VERSION > $out";
  etc = make "etc" ''
    mkdir -p $out/etc/systemd $out/etc/app
    ln -s ${units} $out/etc/systemd/system
    ln -s ${conf} $out/etc/app/a.conf
    ln -s /proc/mounts $out/etc/mtab
    ln -s app/a.conf $out/etc/a.conf
    ln -s $out/etc/hostname $out/etc/nodename
    echo toy > $out/etc/hostname
  '';
  sw = make "system-path" ''
    mkdir -p $out/bin $out/share/doc
    ln -s ${a}/bin/a ${b}/bin/b ${busybox}/bin/mkdir $out/bin
    ln -s ${a}/share/doc/a ${b}/share/doc/b $out/share/doc
  '';
  kernel = make "linux-VERSION" "echo kernel VERSION > $out";
  toplevel = make "nixos-system-toy-VERSION" ''
    mkdir -p $out/bin
    ln -s ${etc}/etc $out/etc
    ln -s ${sw} $out/sw
    ln -s ${kernel} $out/kernel
    printf '#!${busybox}/bin/sh\necho %s %s %s\n' $out ${etc}/etc ${sw} > $out/activate
    printf '#!${busybox}/bin/sh\necho $1 %s >> /tmp/booted\n' $out > $out/bin/switch-to-configuration
    chmod +x $out/activate $out/bin/switch-to-configuration
  '';
}
