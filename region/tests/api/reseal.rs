//! Another key for the secrets in the database.

use farrier_region::{
    app::{App, reseal::Resealed},
    vault::{Vault, key_of},
};
use tokio_util::sync::CancellationToken;

use crate::site::Site;

/// More than fit into two pages.
const MANY: usize = 1100;

#[tokio::test]
async fn what_earlier_keys_sealed_comes_under_the_newest() {
    let site = Site::start().await;
    let (old, store) = (site.app.vault.clone(), &site.app.store);
    for n in 0..MANY {
        let purpose = format!("bmc-own/{n}");
        store.secret_put(&purpose, old.seal(&purpose, purpose.as_bytes())).await.unwrap();
    }
    // Nobody can open this one, so nobody may lose it.
    let foreign = old.seal("another purpose", b"x");
    store.secret_put("bmc-own/foreign", foreign.clone()).await.unwrap();
    let nothing = site.app.reseal(&CancellationToken::new()).await.unwrap();
    assert_eq!(nothing, Resealed::default(), "all are under the only key");

    Vault::add_key(site.data_dir()).unwrap();
    let new = App { vault: Vault::open(site.data_dir()).unwrap(), ..site.app.clone() };
    let moved = new.reseal(&CancellationToken::new()).await.unwrap();
    assert_eq!((moved.moved, moved.shut.len(), moved.shut[0].0.as_str()), (MANY, 1, "bmc-own/foreign"));
    for n in 0..MANY {
        let purpose = format!("bmc-own/{n}");
        let sealed = store.secret_get(&purpose).await.unwrap().unwrap();
        assert_eq!(key_of(&sealed), Some(2), "{purpose}");
        for vault in [&new.vault, &old] {
            assert_eq!(vault.open_sealed(&purpose, &sealed).unwrap().expose(), purpose.as_bytes());
        }
    }
    assert_eq!(store.secret_get("bmc-own/foreign").await.unwrap(), Some(foreign));
    assert_eq!(new.reseal(&CancellationToken::new()).await.unwrap().moved, 0, "once is enough");
}
