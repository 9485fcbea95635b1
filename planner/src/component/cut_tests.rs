//! Cuts of small generations: what is alone, grouped, ordered, final, and why.

use super::testing::{Pair, Parts, summary};
use super::{CutError, Toplevel, cut};
use crate::closure::testing::{info, names, path};
use crate::closure::{ClosureError, Graph, PathSet};

struct Case {
    name: &'static str,
    old: Parts<'static>,
    new: Parts<'static>,
    expected: &'static [&'static str],
}

const NGINX: &str = "systemd/system/nginx.service";
const REDIS: &str = "systemd/system/redis.service";
const APP: &str = "systemd/system/app.service";

const CASES: &[Case] = &[
    Case {
        name: "nothing changes",
        old: &[
            (NGINX, "[Service]\nExecStart=~nginx-1~/bin/nginx"),
            ("hosts", "x"),
        ],
        new: &[
            (NGINX, "[Service]\nExecStart=~nginx-1~/bin/nginx"),
            ("hosts", "x"),
        ],
        expected: &["same etc/hosts", "same unit/nginx"],
    },
    Case {
        name: "two services that have nothing to do with each other",
        old: &[
            (NGINX, "[Service]\nExecStart=@nginx-1@/x"),
            (REDIS, "[Service]\nExecStart=@redis-7@/x"),
        ],
        new: &[
            (NGINX, "[Service]\nExecStart=@nginx-1@/x"),
            (REDIS, "[Service]\nExecStart=@redis-7@/x"),
        ],
        expected: &["alone unit/nginx", "alone unit/redis"],
    },
    Case {
        name: "a family is one component",
        old: &[
            (REDIS, "[Service]\nExecStart=@redis-7@/x"),
            ("systemd/system/redis.socket", "[Socket]\nListenStream=1"),
            ("systemd/system/redis.timer", "[Timer]\nOnCalendar=daily"),
            ("systemd/system/redis@.service", "[Service]\nExecStart=/x"),
        ],
        new: &[
            (REDIS, "[Service]\nExecStart=@redis-7@/x"),
            ("systemd/system/redis.socket", "[Socket]\nListenStream=2"),
            ("systemd/system/redis.service.d/x.conf", "[Service]\nNice=1"),
            (
                "link:systemd/system/multi-user.target.wants/redis.service",
                "../redis.service",
            ),
        ],
        expected: &["alone unit/redis"],
    },
    Case {
        name: "config named by ExecStart",
        old: &[
            (
                NGINX,
                "[Service]\nExecStart=@nginx-1@/x -c /etc/web/nginx.conf",
            ),
            ("web/nginx.conf", "1"),
        ],
        new: &[
            (
                NGINX,
                "[Service]\nExecStart=@nginx-1@/x -c /etc/web/nginx.conf",
            ),
            ("web/nginx.conf", "2"),
        ],
        expected: &["group etc/web unit/nginx: unit nginx.service reads /etc/web/nginx.conf"],
    },
    Case {
        name: "config of a unit that stays as it is",
        old: &[
            (APP, "[Service]\nEnvironmentFile=-/etc/default/app"),
            ("default/app", "1"),
        ],
        new: &[
            (APP, "[Service]\nEnvironmentFile=-/etc/default/app"),
            ("default/app", "2"),
        ],
        expected: &["alone etc/default/app", "same unit/app"],
    },
    Case {
        name: "restart triggers name the store path",
        old: &[
            (APP, "[Unit]\nX-Restart-Triggers=1"),
            ("own:odd/app.conf", "1"),
        ],
        new: &[
            (APP, "[Unit]\nX-Restart-Triggers=2"),
            ("own:odd/app.conf", "2"),
        ],
        expected: &["alone unit/app", "final etc/odd: no unit names /etc/odd"],
    },
    Case {
        name: "a folder with the name of the unit",
        old: &[
            (NGINX, "[Service]\nExecStart=@nginx-1@/x"),
            ("nginx/a", "1"),
        ],
        new: &[
            (NGINX, "[Service]\nExecStart=@nginx-1@/x"),
            ("nginx/a", "2"),
        ],
        expected: &["group etc/nginx unit/nginx: /etc/nginx has the name of unit nginx.service"],
    },
    Case {
        name: "config that config names",
        old: &[
            (NGINX, "[Service]\nExecStart=@nginx-1@/x -c /etc/web/a"),
            ("web/a", "include /etc/sites/b;1"),
            ("sites/b", "1"),
        ],
        new: &[
            (NGINX, "[Service]\nExecStart=@nginx-1@/x -c /etc/web/a"),
            ("web/a", "include /etc/sites/b;2"),
            ("sites/b", "2"),
        ],
        expected: &[
            "group etc/sites etc/web unit/nginx: /etc/web/a names /etc/sites/b; \
             unit nginx.service reads /etc/web/a",
        ],
    },
    Case {
        name: "an unread file that names config does not hold it back",
        old: &[
            (NGINX, "[Service]\nX=/etc/web/a @nginx-1@"),
            ("web/a", "1"),
            ("odd", "/etc/web 1"),
        ],
        new: &[
            (NGINX, "[Service]\nX=/etc/web/a @nginx-1@"),
            ("web/a", "2"),
            ("odd", "/etc/web 2"),
        ],
        expected: &[
            "group etc/web unit/nginx: unit nginx.service reads /etc/web/a",
            "final etc/odd: no unit names /etc/odd",
        ],
    },
    Case {
        name: "what everything reads is final and ties nobody",
        old: &[
            (APP, "[Service]\nX=/etc/passwd /etc/ssl/x @app-1@"),
            ("passwd", "a"),
            ("ssl/x", "1"),
        ],
        new: &[
            (APP, "[Service]\nX=/etc/passwd /etc/ssl/x @app-1@"),
            ("passwd", "b"),
            ("ssl/x", "2"),
        ],
        expected: &[
            "alone unit/app",
            "final etc/passwd: everything reads /etc/passwd",
            "final etc/ssl: everything reads /etc/ssl",
        ],
    },
    Case {
        name: "known files that only people's programs read",
        old: &[("vim/vimrc", "1"), ("fonts/x", "1")],
        new: &[("vim/vimrc", "2"), ("fonts/x", "2")],
        expected: &["alone etc/fonts", "alone etc/vim"],
    },
    Case {
        name: "a socket of another name",
        old: &[
            (REDIS, "[Service]\nExecStart=@redis-7@/x"),
            (
                "systemd/system/in.socket",
                "[Socket]\nService=redis.service\nX=1",
            ),
        ],
        new: &[
            (REDIS, "[Service]\nExecStart=@redis-7@/x"),
            (
                "systemd/system/in.socket",
                "[Socket]\nService=redis.service\nX=2",
            ),
        ],
        expected: &["group unit/in unit/redis: in.socket starts redis.service"],
    },
    Case {
        name: "a timer of another name",
        old: &[
            ("systemd/system/b.service", "[Service]\nX=1"),
            ("systemd/system/t.timer", "[Timer]\nUnit=b.service\nX=1"),
        ],
        new: &[
            ("systemd/system/b.service", "[Service]\nX=2"),
            ("systemd/system/t.timer", "[Timer]\nUnit=b.service\nX=2"),
        ],
        expected: &["group unit/b unit/t: t.timer starts b.service"],
    },
    Case {
        name: "what stops together",
        old: &[
            (APP, "[Unit]\nPartOf=redis.service\nX=1"),
            (REDIS, "[Unit]\nX=1"),
        ],
        new: &[
            (APP, "[Unit]\nPartOf=redis.service\nX=2"),
            (REDIS, "[Unit]\nX=2"),
        ],
        expected: &["group unit/app unit/redis: unit app.service has PartOf=redis.service"],
    },
    Case {
        name: "no group through what does not change",
        old: &[
            (APP, "[Unit]\nPartOf=mid.service\nX=1"),
            (REDIS, "[Unit]\nPartOf=mid.service\nX=1"),
            ("systemd/system/mid.service", ""),
        ],
        new: &[
            (APP, "[Unit]\nPartOf=mid.service\nX=2"),
            (REDIS, "[Unit]\nPartOf=mid.service\nX=2"),
            ("systemd/system/mid.service", ""),
        ],
        expected: &["alone unit/app", "alone unit/redis", "same unit/mid"],
    },
    Case {
        name: "an alias",
        old: &[
            (REDIS, "[Unit]\nX=1"),
            ("link:systemd/system/kv.service", "redis.service"),
        ],
        new: &[(REDIS, "[Unit]\nX=2")],
        expected: &["group unit/kv unit/redis: kv.service is another name of redis.service"],
    },
    Case {
        name: "requires between units that are there is no order",
        old: &[
            (APP, "[Unit]\nRequires=redis.service\nX=1"),
            (REDIS, "[Unit]\nX=1"),
        ],
        new: &[
            (APP, "[Unit]\nRequires=redis.service\nX=2"),
            (REDIS, "[Unit]\nX=2"),
        ],
        expected: &["alone unit/app", "alone unit/redis"],
    },
    Case {
        name: "a newly required unit comes first",
        old: &[(APP, "[Unit]\nX=1")],
        new: &[
            (APP, "[Unit]\nRequires=redis.service"),
            (REDIS, "[Service]\nExecStart=@redis-7@/x"),
        ],
        expected: &[
            "alone unit/app",
            "alone unit/redis",
            "unit/app after unit/redis: app.service needs redis.service",
        ],
    },
    Case {
        name: "a unit that goes, goes after those that required it",
        old: &[
            (APP, "[Unit]\nRequires=redis.service"),
            (REDIS, "[Unit]\nX=1"),
        ],
        new: &[(APP, "[Unit]\nX=2")],
        expected: &[
            "alone unit/app",
            "alone unit/redis",
            "unit/redis after unit/app: app.service needs redis.service",
        ],
    },
    Case {
        name: "each before the other",
        old: &[
            (APP, "[Unit]\nRequires=old.service"),
            ("systemd/system/old.service", ""),
        ],
        new: &[
            (APP, "[Unit]\nRequires=old.socket"),
            ("systemd/system/old.socket", ""),
        ],
        expected: &["group unit/app unit/old: unit/app and unit/old each need the other first"],
    },
    Case {
        name: "a newly required unit that waits",
        old: &[(APP, "[Unit]\nX=1")],
        new: &[
            (APP, "[Unit]\nRequires=data.mount"),
            ("systemd/system/data.mount", "[Mount]\nWhat=x"),
        ],
        expected: &[
            "final unit/app: it must come after unit/data.mount, which waits",
            "final unit/data.mount: data.mount is of a kind that cannot change alone",
        ],
    },
    Case {
        name: "the core is final",
        old: &[
            ("systemd/system/dbus.service", "1=1"),
            ("systemd/system/systemd-x.service", ""),
            ("nsswitch.conf", "1"),
            ("sw:systemd-255", ""),
            ("sw:hello-1", ""),
        ],
        new: &[
            ("systemd/system/dbus.service", "1=2"),
            ("nsswitch.conf", "2"),
            ("sw:systemd-256", ""),
            ("sw:hello-2", ""),
        ],
        expected: &[
            "alone sw/hello",
            "final etc/nsswitch.conf: everything reads /etc/nsswitch.conf",
            "final sw/systemd: everything runs on systemd",
            "final unit/dbus: everything runs on dbus",
            "final unit/systemd-x: everything runs on systemd-x",
        ],
    },
    Case {
        name: "early boot",
        old: &[],
        new: &[
            ("systemd/system/a.service", "[Unit]\nDefaultDependencies=no"),
            (
                "systemd/system/b.service",
                "[Unit]\nBefore=x.service sysinit.target",
            ),
            (
                "systemd/system/c.service",
                "[Install]\nWantedBy=local-fs.target",
            ),
            ("systemd/system/d.service", ""),
            (
                "link:systemd/system/sysinit.target.wants/d.service",
                "../d.service",
            ),
        ],
        expected: &[
            "final unit/a: a.service belongs to early boot (DefaultDependencies=no)",
            "final unit/b: b.service belongs to early boot (Before=sysinit.target)",
            "final unit/c: c.service belongs to early boot (WantedBy=local-fs.target)",
            "final unit/d: d.service belongs to early boot (sysinit.target wants it)",
        ],
    },
    Case {
        name: "kinds that cannot change alone",
        old: &[],
        new: &[
            ("systemd/system/a.target", ""),
            ("systemd/system/b.slice", ""),
            ("systemd/system/c.swap", ""),
            ("systemd/system/service.d/x.conf", ""),
            ("systemd/system/foo-.service.d/x.conf", ""),
        ],
        expected: &[
            "final unit/a.target: a.target is of a kind that cannot change alone",
            "final unit/b.slice: b.slice is of a kind that cannot change alone",
            "final unit/c.swap: c.swap is of a kind that cannot change alone",
            "final unit/foo-.service.d: foo-.service.d is for many units",
            "final unit/service.d: service.d is for many units",
        ],
    },
    Case {
        name: "what is tied to what waits, waits",
        old: &[
            (APP, "[Unit]\nBindsTo=early.service\nX=1"),
            (
                "systemd/system/early.service",
                "[Unit]\nDefaultDependencies=no\nX=1",
            ),
        ],
        new: &[
            (APP, "[Unit]\nBindsTo=early.service\nX=2"),
            (
                "systemd/system/early.service",
                "[Unit]\nDefaultDependencies=no\nX=2",
            ),
        ],
        expected: &[
            "final unit/app: unit/early waits, and unit app.service has BindsTo=early.service",
            "final unit/early: early.service belongs to early boot (DefaultDependencies=no)",
        ],
    },
    Case {
        name: "a unit that cannot be read",
        old: &[(APP, "[Unit]\nX=1")],
        new: &[(APP, "[Unit\nX=1")],
        expected: &[
            "final unit/app: cannot read the unit file app.service: line 1: \"[Unit\" is no section header",
        ],
    },
    Case {
        name: "a user of a new list comes with it",
        old: &[],
        new: &[
            (REDIS, "[Service]\nUser=redis"),
            ("sysusers.d/r.conf", "u redis - - /x\n"),
            ("tmpfiles.d/r.conf", "d /srv/r 0755 redis redis -"),
        ],
        expected: &[
            "group etc/sysusers.d/r.conf etc/tmpfiles.d/r.conf unit/redis: \
             unit redis.service and /etc/sysusers.d/r.conf both name user redis; \
             unit redis.service and /etc/tmpfiles.d/r.conf both name user redis",
        ],
    },
    Case {
        name: "only the lines that change tie a list to a unit",
        old: &[
            (REDIS, "[Service]\nRuntimeDirectory=redis\nX=1"),
            (APP, "X=1"),
            (
                "tmpfiles.d/all.conf",
                "d /run/redis 0755 a b -\nd /run/app 0755",
            ),
        ],
        new: &[
            (REDIS, "[Service]\nRuntimeDirectory=redis\nX=2"),
            (APP, "X=2"),
            (
                "tmpfiles.d/all.conf",
                "d /run/redis 0700 a b -\nd /run/app 0755",
            ),
        ],
        expected: &[
            "alone unit/app",
            "group etc/tmpfiles.d/all.conf unit/redis: \
             unit redis.service and /etc/tmpfiles.d/all.conf both name /run/redis",
        ],
    },
    Case {
        name: "a new user that nobody declares is made at the end",
        old: &[(APP, "[Service]\nUser=app\nX=1")],
        new: &[
            (APP, "[Service]\nUser=app\nX=2"),
            (REDIS, "[Service]\nUser=redis"),
            (
                "systemd/system/dyn.service",
                "[Service]\nUser=dyn\nDynamicUser=yes",
            ),
        ],
        expected: &[
            "alone unit/app",
            "alone unit/dyn",
            "final unit/redis: redis.service runs as redis, which the final step sets up",
        ],
    },
    Case {
        name: "a user whose number changes",
        old: &[
            (APP, "[Service]\nUser=app\nX=1"),
            ("passwd", "app:x:1:1::/:/x"),
        ],
        new: &[
            (APP, "[Service]\nUser=app\nX=2"),
            ("passwd", "app:x:2:1::/:/x"),
        ],
        expected: &[
            "final etc/passwd: everything reads /etc/passwd",
            "final unit/app: app.service runs as app, which the final step sets up",
        ],
    },
    Case {
        name: "a new bus name needs the bus to know",
        old: &[(APP, "[Service]\nBusName=a.b\nX=1"), ("dbus-1/x", "1")],
        new: &[
            (APP, "[Service]\nBusName=a.b\nX=2"),
            (REDIS, "[Service]\nBusName=c.d"),
            ("dbus-1/x", "2"),
        ],
        expected: &[
            "alone unit/app",
            "final etc/dbus-1: everything reads /etc/dbus-1",
            "final unit/redis: redis.service needs the right to the bus name c.d, \
             which changes in the final step",
        ],
    },
    Case {
        name: "packages by name",
        old: &[
            ("sw:jq-1.6", ""),
            ("sw:gone-1", ""),
            ("sw:git-2.40", ""),
            ("sw:git-2.40-doc", ""),
        ],
        new: &[("sw:jq-1.7", ""), ("sw:come-1", ""), ("sw:git-2.41", "")],
        expected: &[
            "alone sw/come",
            "alone sw/git",
            "alone sw/gone",
            "alone sw/jq",
        ],
    },
];

#[test]
fn the_table_of_cuts() {
    let mut wrong = Vec::new();
    for case in CASES {
        let seen = summary(&Pair::of(case.old, case.new).cut());
        if seen != case.expected {
            wrong.push(format!("{}: {seen:#?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_trigger_ties_config_to_a_unit() {
    // The path of the config depends on its text, so that it is made first.
    let config = |n: &str| {
        Pair::of(&[("odd/x", n)], &[]).old.etc["odd/x"]
            .origin
            .clone()
            .unwrap()
    };
    let unit = |n: &str| format!("[Unit]\nX-Restart-Triggers={}", config(n));
    let (old, new) = (unit("1"), unit("2"));
    let cut = Pair::of(
        &[("odd/x", "1"), (APP, &old)],
        &[("odd/x", "2"), (APP, &new)],
    )
    .cut();
    assert_eq!(
        summary(&cut),
        ["group etc/odd unit/app: unit app.service is to restart when /etc/odd/x changes"]
    );
}

#[test]
fn closures_of_components_and_of_the_rest() {
    let pair = Pair::of(
        &[
            (NGINX, "[Service]\nExecStart=@nginx-1@/x"),
            ("rest:activate", "#! @bash-5@/bin/sh"),
            ("sw:hello-1", ""),
        ],
        &[
            (NGINX, "[Service]\nExecStart=@nginx-1@/x"),
            ("rest:activate", "#! @bash-5@/bin/sh"),
            ("sw:hello-1", ""),
        ],
    );
    let cut = pair.cut();
    let nginx = cut
        .components
        .iter()
        .find(|it| it.id.as_str() == "unit/nginx")
        .unwrap();
    let of = |set: &PathSet| names(&pair.graph, set);
    assert_eq!(
        of(&nginx.old.paths),
        ["glibc-2", "nginx-1", "nginx.service"]
    );
    assert_eq!(nginx.changed, ["systemd/system/nginx.service"]);
    assert_eq!(nginx.old.paths.union(&nginx.new.paths).len(), 6);
    let rest = ["bash-5", "etc", "glibc-2", "nixos-system", "system-path"];
    assert_eq!(of(&cut.last.old), rest);
    assert_eq!(of(&cut.last.new), rest);
    assert!(cut.last.unexplained.is_empty());
}

#[test]
fn what_nothing_accounts_for_is_final_with_all_it_needs() {
    let mut pair = Pair::of(&[("hosts", "x")], &[("hosts", "y")]);
    for node in [
        info("top", 1, &["odd", "tool"]),
        info("odd", 1, &["deep"]),
        info("tool", 1, &["deep"]),
        info("deep", 1, &[]),
    ] {
        pair.graph.add(&node).unwrap();
    }
    pair.new = Toplevel::new(path("top"));
    pair.new.packages.insert(path("tool"));
    let cut = pair.cut();
    assert_eq!(names(&pair.graph, &cut.last.new), ["deep", "odd", "top"]);
    assert_eq!(cut.last.unexplained, [path("odd")]);
}

#[test]
fn an_incomplete_closure_is_refused() {
    let mut graph = Graph::new();
    graph.add(&info("old", 1, &[])).unwrap();
    graph.add(&info("new", 1, &["lost"])).unwrap();
    let (old, new) = (Toplevel::new(path("old")), Toplevel::new(path("new")));
    assert_eq!(
        cut(&graph, &old, &new).unwrap_err(),
        CutError::Closure {
            toplevel: path("new"),
            source: ClosureError::Missing {
                path: path("lost"),
                referrer: path("new"),
            },
        }
    );
}

#[test]
fn the_instance_has_the_shape_of_the_planner() {
    let pair = Pair::of(
        &[
            (NGINX, "[Service]\nX=/etc/web/a"),
            ("web/a", "1"),
            (REDIS, "[Unit]\nX=1"),
        ],
        &[
            (NGINX, "[Service]\nX=/etc/web/a\nY=2"),
            ("web/a", "2"),
            (REDIS, "[Unit]\nRequires=app.service"),
            (APP, ""),
        ],
    );
    let instance = pair.cut().instance(&pair.graph, Some(7), &PathSet::new());
    let json = serde_json::to_value(&instance).unwrap();
    let components = json["components"].as_array().unwrap();
    let find = |id: &str| components.iter().find(|it| it["id"] == id).unwrap();
    assert_eq!(find("unit/nginx")["with"][0], "etc/web");
    assert_eq!(find("unit/redis")["after"][0], "unit/app");
    assert_eq!(find("final")["final"], true);
    assert_eq!(find("unit/redis")["final"], false);
    assert_eq!(json["budget"], 7);
    for component in components {
        for side in ["old", "new"] {
            for path in component[side].as_array().unwrap() {
                assert!(json["paths"].get(path.as_str().unwrap()).is_some());
            }
        }
    }
}
