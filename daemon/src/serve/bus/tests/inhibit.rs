//! Inhibitors over the bus: a descriptor holds them.

use zbus::zvariant::OwnedFd;

use super::*;
use crate::upgrade::inhibit::What;

#[tokio::test]
async fn it_stands_until_its_descriptor_is_closed() {
    let world = World::new().await;
    let manager = world.manager().await;
    let take = async |what: &str, who: &str| {
        let body = (what, who, "it copies /nix");
        manager.call::<_, _, OwnedFd>("Inhibit", &body).await
    };
    let held = take("upgrade", "backup").await.unwrap();
    let standing = world.backend.inhibitors.standing();
    assert_eq!(standing.len(), 1);
    assert_eq!(
        (standing[0].what, standing[0].who.as_str()),
        (What::Upgrade, "backup")
    );
    assert_eq!(standing[0].uid, nix::unistd::getuid().as_raw());
    drop(held);
    soon(async {
        while !world.backend.inhibitors.standing().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    for (what, who) in [("reboot", "backup"), ("upgrade", "")] {
        let refused = take(what, who).await.unwrap_err().to_string();
        assert!(refused.contains("InvalidArgument"), "{refused}");
    }
}

#[tokio::test]
async fn the_numbers_are_given_to_everybody() {
    let world = World::new().await;
    let text: String = world.manager().await.call("Metrics", &()).await.unwrap();
    assert_eq!(text, "nixctl_build_info 1\n");
}
