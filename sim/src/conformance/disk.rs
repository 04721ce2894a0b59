//! The laws of [`engine::env::Disk`]. Each takes an empty directory that exists.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use engine::env::{BoxFuture, Env, File, OpenMode};

/// A law: its name and its body.
pub type Law = (&'static str, fn(Env, PathBuf) -> BoxFuture<'static, ()>);

macro_rules! laws {
    ($($(#[$doc:meta])* fn $name:ident($env:ident, $dir:ident) $body:block)*) => {
        /// Every law.
        pub const LAWS: &[Law] = &[$((stringify!($name), |env, dir| Box::pin($name(env, dir)))),*];
        $($(#[$doc])* async fn $name($env: Env, $dir: PathBuf) $body)*
    };
}

async fn open(env: &Env, path: &Path, mode: OpenMode) -> Arc<dyn File> {
    env.disk().open(path, mode).await.unwrap_or_else(|error| panic!("open {} {mode:?}: {error}", path.display()))
}

async fn append(file: &Arc<dyn File>, bytes: &'static [u8]) -> u64 {
    file.append(vec![Bytes::from_static(bytes)]).await.expect("an append succeeds")
}

async fn read(file: &Arc<dyn File>, position: u64, len: usize) -> Vec<u8> {
    file.read_at(position, len).await.expect("a read succeeds").to_vec()
}

async fn create(env: &Env, path: &Path, bytes: &'static [u8]) {
    append(&open(env, path, OpenMode::Append).await, bytes).await;
}

async fn content(env: &Env, path: &Path) -> Vec<u8> {
    read(&open(env, path, OpenMode::Read).await, 0, 1 << 20).await
}

fn kind<T>(result: std::io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

laws! {
    fn an_append_says_where_it_went_and_a_read_gives_it_back(env, dir) {
        let file = open(&env, &dir.join("f"), OpenMode::Append).await;
        assert_eq!(append(&file, b"hello ").await, 0);
        assert_eq!(append(&file, b"world").await, 6);
        assert_eq!(file.len().await.expect("a length"), 11);
        assert_eq!(read(&file, 0, 11).await, b"hello world");
        assert_eq!(read(&file, 3, 5).await, b"lo wo");
    }

    fn a_read_is_short_only_at_the_end(env, dir) {
        let file = open(&env, &dir.join("f"), OpenMode::Append).await;
        append(&file, b"0123456789").await;
        assert_eq!(read(&file, 8, 100).await, b"89");
        assert_eq!(read(&file, 10, 5).await, b"");
        assert_eq!(read(&file, 1_000, 5).await, b"");
        assert_eq!(read(&file, 2, 0).await, b"");
    }

    fn slices_are_appended_in_order_as_one(env, dir) {
        let file = open(&env, &dir.join("f"), OpenMode::Append).await;
        let slices: Vec<Bytes> = (0..2_000u32).map(|i| Bytes::from(i.to_be_bytes().to_vec())).collect();
        let mut data = vec![Bytes::new()];
        data.extend(slices.iter().cloned());
        assert_eq!(file.append(data).await.expect("an append succeeds"), 0);
        assert_eq!(file.append(Vec::new()).await.expect("an empty append succeeds"), 8_000);
        assert_eq!(read(&file, 0, 10_000).await, slices.concat());
    }

    fn appends_asked_for_in_one_order_are_made_in_it(env, dir) {
        let file = open(&env, &dir.join("f"), OpenMode::Append).await;
        let (a, b, c, synced) = tokio::join!(
            biased;
            file.append(vec![Bytes::from_static(b"a")]),
            file.append(vec![Bytes::from_static(b"bb")]),
            file.append(vec![Bytes::from_static(b"ccc")]),
            file.sync(),
        );
        assert_eq!((a.expect("appended"), b.expect("appended"), c.expect("appended")), (0, 1, 3));
        synced.expect("synced");
        assert_eq!(read(&file, 0, 10).await, b"abbccc");
    }

    fn megabytes_come_back_whole(env, dir) {
        let file = open(&env, &dir.join("f"), OpenMode::Append).await;
        let big: Bytes = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        file.append(vec![big.clone()]).await.expect("an append succeeds");
        assert!(file.read_at(0, big.len()).await.expect("a read succeeds") == big, "a large read differs");
        let (left, right) = tokio::join!(file.read_at(7, 1_000_000), file.read_at(1_999_999, 2_000_000));
        assert!(left.expect("read") == big[7..1_000_007], "a read in the middle differs");
        assert!(right.expect("read") == big[1_999_999..], "a read over the end differs");
    }

    fn a_file_keeps_its_bytes_when_it_is_opened_again(env, dir) {
        let path = dir.join("f");
        create(&env, &path, b"one").await;
        let file = open(&env, &path, OpenMode::Append).await;
        assert_eq!(append(&file, b"two").await, 3);
        assert_eq!(content(&env, &path).await, b"onetwo");
    }

    fn replacing_a_file_empties_it(env, dir) {
        let path = dir.join("f");
        create(&env, &path, b"old").await;
        let file = open(&env, &path, OpenMode::Replace).await;
        assert_eq!(file.len().await.expect("a length"), 0);
        assert_eq!(append(&file, b"x").await, 0);
        assert_eq!(content(&env, &path).await, b"x");
    }

    fn what_is_missing_is_not_found(env, dir) {
        let missing = dir.join("missing");
        assert_eq!(kind(env.disk().open(&missing, OpenMode::Read).await), Some(ErrorKind::NotFound));
        assert_eq!(kind(env.disk().open(&missing.join("f"), OpenMode::Append).await), Some(ErrorKind::NotFound));
        assert_eq!(kind(env.disk().remove(&missing).await), Some(ErrorKind::NotFound));
        assert_eq!(kind(env.disk().rename(&missing, &dir.join("to")).await), Some(ErrorKind::NotFound));
        assert_eq!(kind(env.disk().list(&missing).await), Some(ErrorKind::NotFound));
        assert_eq!(kind(env.disk().sync_dir(&missing).await), Some(ErrorKind::NotFound));
        create(&env, &dir.join("f"), b"x").await;
        assert_eq!(kind(env.disk().rename(&dir.join("f"), &missing.join("f")).await), Some(ErrorKind::NotFound));
        assert_eq!(env.disk().list(&dir).await.expect("a listing"), ["f"]);
    }

    fn a_file_opened_for_reading_is_not_written(env, dir) {
        let path = dir.join("f");
        create(&env, &path, b"data").await;
        let file = open(&env, &path, OpenMode::Read).await;
        assert!(file.append(vec![Bytes::from_static(b"x")]).await.is_err());
        assert!(file.truncate(1).await.is_err());
        assert_eq!(content(&env, &path).await, b"data");
    }

    fn a_cut_file_goes_on_at_its_new_end(env, dir) {
        let path = dir.join("f");
        let file = open(&env, &path, OpenMode::Append).await;
        append(&file, b"0123456789").await;
        file.sync().await.expect("synced");
        file.truncate(4).await.expect("cut");
        assert_eq!(file.len().await.expect("a length"), 4);
        assert_eq!(append(&file, b"xy").await, 4);
        file.sync().await.expect("synced");
        assert_eq!(content(&env, &path).await, b"0123xy");
        file.truncate(6).await.expect("a cut at the end changes nothing");
        assert_eq!(kind(file.truncate(7).await), Some(ErrorKind::InvalidInput));
        file.truncate(0).await.expect("cut");
        assert_eq!(content(&env, &path).await, b"");
    }

    fn a_rename_replaces_and_open_files_stay_what_they_were(env, dir) {
        let (old, new) = (dir.join("old"), dir.join("new"));
        create(&env, &old, b"old").await;
        let file = open(&env, &new, OpenMode::Append).await;
        append(&file, b"new").await;
        file.sync().await.expect("synced");
        env.disk().rename(&new, &old).await.expect("renamed");
        env.disk().sync_dir(&dir).await.expect("synced");
        assert_eq!(env.disk().list(&dir).await.expect("a listing"), ["old"]);
        append(&file, b"er").await;
        assert_eq!(content(&env, &old).await, b"newer");
        env.disk().rename(&old, &old).await.expect("renaming to itself changes nothing");
        assert_eq!(content(&env, &old).await, b"newer");
    }

    fn a_removed_file_can_be_read_by_who_has_it_open(env, dir) {
        let path = dir.join("f");
        create(&env, &path, b"first").await;
        let file = open(&env, &path, OpenMode::Read).await;
        env.disk().remove(&path).await.expect("removed");
        assert_eq!(env.disk().list(&dir).await.expect("a listing"), Vec::<String>::new());
        create(&env, &path, b"second").await;
        assert_eq!(read(&file, 0, 100).await, b"first");
        assert_eq!(content(&env, &path).await, b"second");
    }

    fn a_listing_is_sorted_and_names_files_and_directories(env, dir) {
        for name in ["b", "a.log", "00000000000000000010.log", "Z"] {
            create(&env, &dir.join(name), b"").await;
        }
        env.disk().create_dir_all(&dir.join("c").join("d")).await.expect("created");
        create(&env, &dir.join("c").join("inner"), b"").await;
        let expected = ["00000000000000000010.log", "Z", "a.log", "b", "c"];
        assert_eq!(env.disk().list(&dir).await.expect("a listing"), expected);
        assert_eq!(env.disk().list(&dir.join("c")).await.expect("a listing"), ["d", "inner"]);
        assert_eq!(env.disk().list(&dir.join("c").join("d")).await.expect("a listing"), Vec::<String>::new());
    }

    fn directories_are_created_with_their_parents_and_again(env, dir) {
        let deep = dir.join("x").join("y").join("z");
        env.disk().create_dir_all(&deep).await.expect("created");
        env.disk().create_dir_all(&deep).await.expect("created again");
        create(&env, &deep.join("f"), b"1").await;
        assert_eq!(content(&env, &deep.join("f")).await, b"1");
        assert!(env.disk().create_dir_all(&deep.join("f")).await.is_err(), "a file is no directory");
    }

    fn one_holds_the_lock(env, dir) {
        let path = dir.join("lock");
        let first = env.disk().lock(&path).await.expect("locked");
        assert_eq!(kind(env.disk().lock(&path).await), Some(ErrorKind::WouldBlock));
        let other = env.disk().lock(&dir.join("other")).await.expect("another lock is free");
        drop(first);
        let again = env.disk().lock(&path).await.expect("free again");
        assert_eq!(kind(env.disk().lock(&path).await), Some(ErrorKind::WouldBlock));
        drop((again, other));
    }

    fn many_files_are_written_at_once(env, dir) {
        let mut tasks = Vec::new();
        for index in 0..20u8 {
            let (env, path) = (env.clone(), dir.join(format!("f{index:02}")));
            tasks.push(env.tasks().spawn(Box::pin(async move {
                let file = open(&env, &path, OpenMode::Append).await;
                for round in 0..10u64 {
                    let position = file.append(vec![Bytes::from(vec![index; 100])]).await.expect("appended");
                    assert_eq!(position, round * 100);
                    file.sync().await.expect("synced");
                }
            })));
        }
        for task in tasks {
            task.await.expect("no panic");
        }
        for index in 0..20u8 {
            assert_eq!(content(&env, &dir.join(format!("f{index:02}"))).await, vec![index; 1_000]);
        }
    }
}
