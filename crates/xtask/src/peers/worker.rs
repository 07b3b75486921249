//! A program that answers requests in JSON lines, as `benches/peers/main.rs` describes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::chores::shown;

/// A program that waits for requests.
#[derive(Debug)]
pub(crate) struct Worker {
    name: String,
    child: Child,
    /// Dropped first, which ends the program.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    versions: Map<String, Value>,
}

impl Worker {
    /// Starts a program and waits until it has said its versions.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let name = shown(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("a program without an output")?;
        let versions = Map::new();
        let mut worker = Self { name, child, input, output: BufReader::new(output), versions };
        let mut hello = worker.line()?;
        match hello.remove("versions") {
            Some(Value::Object(versions)) => worker.versions = versions,
            _ => bail!("`{}` did not begin with its versions", worker.name),
        }
        Ok(worker)
    }

    /// What the program said of its versions.
    pub(crate) fn versions(&self) -> &Map<String, Value> {
        &self.versions
    }

    /// Puts one request and waits for the answer.
    pub(crate) fn ask(&mut self, request: &Value) -> Result<Map<String, Value>> {
        if let Some(input) = &mut self.input {
            // A program that has ended is noticed when its answer is read.
            let _ = writeln!(input, "{request}").and_then(|()| input.flush());
        }
        let answer = self.line()?;
        if let Some(failed) = answer.get("failed") {
            bail!("`{}` failed: {}", self.name, failed.as_str().unwrap_or_default());
        }
        Ok(answer)
    }

    fn line(&mut self) -> Result<Map<String, Value>> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() {
            self.input = None;
            bail!("`{}` ended early, with {}", self.name, self.child.wait()?);
        }
        let name = &self.name;
        serde_json::from_str(&line).with_context(|| format!("`{name}` said {:?}", line.trim()))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use serde_json::json;

    fn start(script: &str) -> Result<Worker> {
        Worker::start(Command::new("sh").args(["-c", script]))
    }

    const HELLO: &str = r#"echo '{"versions": {"x": "1"}}';"#;

    #[test]
    fn requests_are_answered_one_by_one() {
        let echo = "while read line; do echo \"$line\"; done";
        let mut worker = start(&format!("{HELLO} {echo}")).unwrap();
        assert_eq!(worker.versions()["x"], "1");
        for number in [1, 2] {
            assert_eq!(worker.ask(&json!({ "a": number })).unwrap()["a"], number);
        }
        let error = worker.ask(&json!({ "failed": "no" })).unwrap_err().to_string();
        assert!(error.ends_with("failed: no"), "{error}");
    }

    #[test]
    fn a_program_that_ends_or_babbles_is_named() {
        let error = start("exit 3").unwrap_err().to_string();
        assert!(error.contains("exit 3") && error.contains("ended early"), "{error}");
        let error = start("echo hello").unwrap_err().to_string();
        assert!(error.contains("said \"hello\""), "{error}");
        let error = start("echo '{}'").unwrap_err().to_string();
        assert!(error.contains("did not begin with its versions"), "{error}");
        let error = start(HELLO).unwrap().ask(&json!({})).unwrap_err().to_string();
        assert!(error.contains("ended early"), "{error}");
    }
}
