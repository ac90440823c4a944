//! Sealed values.

use farrier_region::store::Replaced;

use crate::world::{World, on_both};

#[test]
fn a_value_is_replaced_only_as_it_was_read() {
    on_both(|world: World| async move {
        let store = &world.store;
        for (purpose, sealed) in [("a", b"1"), ("b", b"2"), ("c", b"3")] {
            store.secret_put(purpose, sealed.to_vec()).await.unwrap();
        }
        let page = store.secrets_after("", 2).await.unwrap();
        assert_eq!(page, [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
        assert_eq!(store.secrets_after("b", 2).await.unwrap(), [("c".to_owned(), b"3".to_vec())]);
        // Somebody else is faster.
        store.secret_put("b", b"new".to_vec()).await.unwrap();
        store.secret_delete("c").await.unwrap();
        let replaced = [("a", b"1"), ("b", b"2"), ("c", b"3")].map(|(purpose, before)| Replaced {
            purpose: purpose.to_owned(),
            before: before.to_vec(),
            after: b"anew".to_vec(),
        });
        assert_eq!(store.secrets_replace(replaced.to_vec()).await.unwrap(), 1);
        let now: Vec<_> = store.secrets_after("", 9).await.unwrap();
        assert_eq!(now, [("a".to_owned(), b"anew".to_vec()), ("b".to_owned(), b"new".to_vec())]);
    });
}
