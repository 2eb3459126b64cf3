//! Uploads, from the outside.

use domain::key::{Grant, Scope};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Call, Reply};
use crate::place::{RETENTION_MS, UPLOAD_BYTES_MAX, found, get, png};
use crate::world::World;

const PATH: &str = "/api/v1/files";
const BOUNDARY: &str = "----fox";

/// One field of a form, as it is sent.
fn field(name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"../a b.html\"\r\n\
         content-type: text/html\r\n\r\n"
    );
    [head.as_bytes(), content, b"\r\n"].concat()
}

fn form(fields: &[Vec<u8>]) -> Vec<u8> {
    [&fields.concat(), format!("--{BOUNDARY}--\r\n").as_bytes()].concat()
}

fn call(world: &World, body: Vec<u8>) -> Call {
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let call = world.call("POST", PATH);
    call.header("content-type", kind).body(body)
}

async fn upload(world: &World, content: &[u8]) -> Reply {
    call(world, form(&[field("file", content)])).send().await
}

/// The paths that the store will have swept, a day from now.
async fn announced(world: &World) -> Vec<String> {
    let tomorrow_ms = world.now_ms() + 2 * 86_400_000;
    let all = world.store.any_expired_files(tomorrow_ms, 100).await;
    let mut all = all.unwrap();
    all.retain(|path| path.starts_with("upload:"));
    all
}

#[tokio::test]
async fn what_is_uploaded_is_served_byte_for_byte() {
    let world = World::new().await;
    for bytes in [40, 300_000, (5 << 20) + 1, UPLOAD_BYTES_MAX as usize] {
        let content = png(bytes);
        let file = upload(&world, &content).await.ok();
        assert_eq!(file["content_type"], "image/png", "judged by its content");
        assert_eq!(file["bytes"], bytes);
        assert_eq!(file["sha256"], hex::encode(Sha256::digest(&content)));
        let url = file["url"].as_str().unwrap();
        let folder = file["id"].as_str().unwrap().strip_prefix("file_").unwrap();
        assert_eq!(
            url,
            format!("https://gateway.test/files/{folder}/upload.png")
        );
        let (status, kind, served) = get(&world, url).await;
        assert_eq!((status, kind.as_str()), (200, "image/png"));
        assert!(served == content, "{bytes} bytes come back changed");
        // Each file has one address.
        let as_result = url.replace("/files/", "/results/");
        assert_eq!(get(&world, &as_result).await.0, 404);
        let path = format!("{folder}/upload.png");
        let now_ms = world.now_ms();
        let row = world.store.any_file(&path, now_ms).await.unwrap().unwrap();
        let left_ms = row.expires_ms - now_ms;
        assert!((RETENTION_MS - 60_000..=RETENTION_MS).contains(&left_ms));
    }
    assert_eq!(announced(&world).await, Vec::<String>::new());
}

#[tokio::test]
async fn pictures_films_and_sounds_are_taken_and_nothing_else() {
    let world = World::new().await;
    for (content, kind, ending) in [
        (&b"GIF89a\x01\0\x01\0"[..], "image/gif", "gif"),
        (b"\0\0\0\x14ftypisom\0\0\0\0isom", "video/mp4", "mp4"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav", "wav"),
        (b"ID3\x04\0\0\0\0\0\0", "audio/mpeg", "mp3"),
    ] {
        let file = upload(&world, content).await.ok();
        assert_eq!(file["content_type"], kind);
        assert!(file["url"].as_str().unwrap().ends_with(ending));
    }
    let kept = found(&world);
    for content in [
        &b"<html><script>"[..],
        b"<svg xmlns=\"http://www.w3.org/2000/svg\">",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"x",
    ] {
        let reply = upload(&world, content).await;
        let refusal = reply.refusal(422, "validation_error");
        assert_eq!(refusal["param"], "file");
        let allowed = refusal["allowed"].as_array().unwrap();
        assert!(allowed.contains(&json!("image/png")), "{refusal}");
    }
    assert_eq!(found(&world), kept);
    assert_eq!(announced(&world).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_form_has_one_file_and_nothing_else() {
    let world = World::new().await;
    let file = || field("file", &png(40));
    for (fields, why) in [
        (vec![], "no field"),
        (vec![field("image", &png(40))], "another field"),
        (vec![field("purpose", b"x"), file()], "a field before it"),
        (vec![file(), field("purpose", b"x")], "a field after it"),
        (vec![file(), file()], "two files"),
        (vec![field("file", b"")], "an empty file"),
    ] {
        let reply = call(&world, form(&fields)).send().await;
        assert_eq!(reply.invalid(), "file", "{why}");
    }
    assert_eq!(found(&world), Vec::<String>::new());
    assert_eq!(announced(&world).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_broken_form_is_refused_and_leaves_nothing() {
    let world = World::new().await;
    let whole = form(&[field("file", &png(6 << 20))]);
    let endless_head = format!("--{BOUNDARY}\r\nx-a: {}", "a".repeat(3 << 20));
    for (body, why) in [
        (whole[..whole.len() - 60].to_vec(), "no end of the file"),
        (whole[..whole.len() - 5].to_vec(), "no end of the form"),
        (whole[..20].to_vec(), "no end of a head"),
        (b"nothing like a form".to_vec(), "no form"),
        (Vec::new(), "nothing at all"),
        (vec![b'x'; 3 << 20], "no beginning"),
        (endless_head.into_bytes(), "an endless head"),
    ] {
        let reply = call(&world, body).send().await;
        reply.refusal(400, "bad_request");
        assert_eq!(found(&world), Vec::<String>::new(), "{why}");
    }
    for kind in ["application/json", "multipart/form-data", "image/png"] {
        let call = world.call("POST", PATH).header("content-type", kind);
        call.body(png(40)).send().await.refusal(400, "bad_request");
    }
    let bare = world.call("POST", PATH).body(png(40)).send().await;
    bare.refusal(400, "bad_request");
    assert_eq!(announced(&world).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_file_has_a_largest_size() {
    let world = World::new().await;
    let over = usize::try_from(UPLOAD_BYTES_MAX).unwrap() + 1;
    let reply = upload(&world, &png(over)).await;
    let refusal = reply.refusal(413, "too_large");
    assert_eq!(refusal["param"], "file");
    assert_eq!(found(&world), Vec::<String>::new());
    assert_eq!(announced(&world).await, Vec::<String>::new());
    // What says so itself is not even read.
    let length = UPLOAD_BYTES_MAX + (1 << 20);
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {length}\r\n\
         content-type: multipart/form-data; boundary=x\r\n\r\n",
        world.key
    );
    let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_cut_connection_leaves_nothing() {
    let world = World::new().await;
    let body = form(&[field("file", &png(11 << 20))]);
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\
         content-type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n",
        world.key,
        body.len()
    );
    for bytes in [100, 1 << 20, 6 << 20, 10 << 20] {
        let mut stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body[..bytes]).await.unwrap();
        drop(stream);
    }
    // It is seen to in the background, once the server has noticed.
    let mut left = (Vec::new(), Vec::new());
    for _ in 0..400 {
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        left = (found(&world), announced(&world).await);
    }
    assert_eq!(left, (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn uploads_are_for_keys_that_run_and_wait_for_the_end_of_maintenance() {
    let world = World::new().await;
    let grant = Grant {
        scopes: vec![Scope::Read],
        ..Grant::account("reader")
    };
    let reader = world.new_key(&world.account, grant).await;
    let body = form(&[field("file", &png(40))]);
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let bare = || {
        let call = world.bare("POST", PATH).header("content-type", &kind);
        call.body(body.clone())
    };
    bare().send().await.refusal(401, "unauthorized");
    let read = bare().key(&reader).send().await;
    read.refusal(401, "unauthorized");
    let operator = world.operator().await;
    let set = world
        .bare("PUT", "/api/v1/admin/maintenance")
        .key(&operator);
    set.json(&json!({"enabled": true})).send().await.ok();
    let reply = call(&world, body.clone()).send().await;
    reply.refusal(455, "maintenance");
}
