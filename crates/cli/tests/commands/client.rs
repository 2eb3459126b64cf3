//! Commands that ask a running server.

use super::*;

#[test]
fn run_saves_results_and_answers_with_exit_codes() {
    let home = Home::new("run");
    let server = Server::start(&home);
    let ask = |line: &str| said(server.ask(&home, line).output().unwrap());
    let (code, out, err) = ask("run image_generate.imagen_4 -p fox");
    assert_eq!(code, 0, "{err}");
    let path = home.0.join(out.trim());
    assert!(
        std::fs::read(&path).unwrap().starts_with(b"\x89PNG"),
        "{out}"
    );
    assert!(out.starts_with("./imagen_4-"), "{out}");
    let (code, out, err) = ask("run image_generate.imagen_4 -p fox -o deep/fox.png --json");
    assert_eq!(code, 0, "{err}");
    let task: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(task["status"], "success");
    assert!(home.0.join("deep/fox.png").exists());
    let (code, out, err) = ask("run solve_problem.kie_reasoning -p why?");
    assert_eq!(code, 0, "{err}");
    assert!(!out.trim().is_empty() && !out.contains(".txt"), "{out}");
    let id = task["task_id"].as_str().unwrap();
    assert!(ask(&format!("task {id}")).1.contains("status: success"));

    let (code, out, err) = ask("run image_generate.imagen_4 -p fox --sandbox outcome=moderated");
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("moderated"), "{err}");
    assert_eq!(ask("run image_generate.nosuch -p fox").0, 3);
    let (code, _, err) =
        ask("run image_generate.imagen_4 -p fox --set image_params.aspect_ratio=7:1");
    assert_eq!(code, 3);
    assert!(err.contains("image_params.aspect_ratio"), "{err}");
    assert_eq!(ask("run image_generate.imagen_4 -p fox --set nothing").0, 2);
    let (code, _, err) = ask("run image_generate.imagen_4 -p fox --sandbox delay=60s --timeout 1");
    assert_eq!(code, 4, "{err}");
    assert!(err.contains("goes on"), "{err}");
    let mut nobody = server.ask(&home, "run image_generate.imagen_4 -p fox");
    let (code, _, err) = said(nobody.env_remove("ROUTERBASE_API_KEY").output().unwrap());
    assert_eq!(code, 3);
    assert!(err.contains("ROUTERBASE_API_KEY"), "{err}");
}

#[test]
fn a_run_with_its_key_counts_once() {
    let home = Home::new("once");
    let server = Server::start(&home);
    let line = "run image_generate.imagen_4 -p fox --no-wait --idempotency-key one";
    let ask = || said(server.ask(&home, line).output().unwrap()).1;
    let first = ask();
    assert_eq!(first.trim().len(), 36);
    assert_eq!(ask(), first);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let home = Home::new("nowhere");
    for line in ["models", "task x", "run a.b -p c"] {
        let (code, out, err) = home.run(&format!("{line} --url http://127.0.0.1:1"));
        assert_eq!((code, out.as_str()), (3, ""), "{line}");
        assert!(err.contains("http://127.0.0.1:1 does not answer"), "{err}");
    }
    assert_eq!(home.run("models --url ftp://x").0, 2);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let home = Home::new("pipe");
    let mut command = home.command("config");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(said(output), (0, String::new(), String::new()));
}
