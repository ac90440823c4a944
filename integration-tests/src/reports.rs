//! A small HTTP server to which deployed systems post what their user data tells them to, with a gate: user data waits
//! at it, so that a test can look at a machine whose system runs but has not phoned home yet.
//!
//! Runs as `farrier-labctl report-server`, because it must listen inside the lab's namespace.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use crate::{
    daemon::{Daemon, append},
    error::{LabError, Result},
    net::{Net, SERVER},
    wait,
};

/// Its port.
pub const PORT: u16 = 8099;
/// Nobody has more to say.
const MOST_BYTES: u64 = 64 << 10;
const READ_LIMIT: Duration = Duration::from_secs(10);

/// A running report server.
#[derive(Debug)]
pub struct Reports {
    file: PathBuf,
    _server: Daemon,
}

impl Reports {
    /// Starts one in the lab's namespace; `labctl` is the path of `farrier-labctl`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(net: &Net, labctl: &Path, dir: &Path) -> Result<Self> {
        let file = dir.join("reports");
        append(&file)?;
        let mut command = net.command(labctl);
        command.args(["report-server", "--listen", &format!("{SERVER}:{PORT}"), "--out"]).arg(&file);
        let mut server = Daemon::new("report-server", dir.join("report-server.log"), command);
        server.start()?;
        server.listens(PORT, Duration::from_secs(60))?;
        Ok(Self { file, _server: server })
    }

    /// Where to post.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{SERVER}:{PORT}/report")
    }

    /// Everything that was posted so far.
    #[must_use]
    pub fn all(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap_or_default()
    }

    /// Lets user data go on, which waits after its report.
    ///
    /// # Errors
    /// The gate's file cannot be made.
    pub fn open_gate(&self) -> Result<()> {
        append(&gate(&self.file)).map(drop)
    }

    /// Waits until somebody has posted `text`.
    ///
    /// # Errors
    /// Nobody does.
    pub fn hold(&self, text: &str, limit: Duration) -> Result<()> {
        wait::until_true(&format!("report of {text:?}"), limit, || self.all().contains(text))
    }

    /// User data, a script that any of our systems runs: writes `marker` to the system's disk, posts `secret`, then
    /// waits (at most an hour) until [`Reports::open_gate`]. Systems phone home only after it has ended.
    #[must_use]
    pub fn user_data(&self, secret: &str, marker: &str) -> String {
        let url = self.url();
        format!(
            r#"#!/bin/sh
echo '{marker}' > /var/marker
sync
post() {{ if command -v curl > /dev/null; then curl -fsS --data "$1" "$2"; else wget -q -O /dev/null --post-data "$1" "$2"; fi; }}
tries=0
until post '{secret}' {url} && post at-the-gate {url}/gate; do
    tries=$((tries + 1))
    [ "$tries" -lt 3600 ] || exit 1
    sleep 1
done
"#
        )
    }
}

/// The file whose existence opens the gate.
fn gate(file: &Path) -> PathBuf {
    file.with_extension("gate")
}

/// Answers posts until the process ends; each body becomes a line of `file`. A post to `…/gate` is refused until the gate
/// is open.
///
/// # Errors
/// The address cannot be listened on, or the file not be opened.
pub fn serve(listen: &str, file: &Path) -> Result<()> {
    let listener = TcpListener::bind(listen).map_err(LabError::io(format!("cannot listen on {listen}")))?;
    let out = Mutex::new(append(file)?);
    thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            let out = &out;
            scope.spawn(move || {
                if let Some(body) = receive(&stream, gate(file).exists()) {
                    let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
                    // A line that is not written is missed by the test that waits for it.
                    let _ = writeln!(out, "{}", body.replace('\n', " "));
                }
            });
        }
    });
    Ok(())
}

/// Reads one POST and answers it.
fn receive(mut stream: &TcpStream, gate_is_open: bool) -> Option<String> {
    stream.set_read_timeout(Some(READ_LIMIT)).ok()?;
    let mut reader = BufReader::new(stream.take(MOST_BYTES));
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let refused = request.contains("/gate ") && !gate_is_open;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = String::new();
    reader.take(length).read_to_string(&mut body).ok()?;
    let status = if refused { "503 Closed" } else { "200 OK" };
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).ok()?;
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut answer = [0; 12];
        for (path, gate, status) in
            [("/report", false, "200"), ("/report/gate", false, "503"), ("/report/gate", true, "200")]
        {
            let post = format!("POST {path} HTTP/1.1\r\nHost: x\r\ncontent-length: 6\r\n\r\nsecret");
            client.write_all(post.as_bytes()).unwrap();
            let (stream, _) = listener.accept().unwrap();
            assert_eq!(receive(&stream, gate).as_deref(), Some("secret"));
            client.read_exact(&mut answer).unwrap();
            assert!(answer.ends_with(status.as_bytes()), "{path}");
            client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        }
    }
}
