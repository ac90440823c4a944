//! A small HTTP server to which deployed systems post what their user data tells them to.
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

    /// Waits until somebody has posted `text`.
    ///
    /// # Errors
    /// Nobody does.
    pub fn hold(&self, text: &str, limit: Duration) -> Result<()> {
        wait::until_true(&format!("report of {text:?}"), limit, || self.all().contains(text))
    }

    /// User data, a script that any of our systems runs: writes `marker` to the system's disk, then posts `secret`.
    #[must_use]
    pub fn user_data(&self, secret: &str, marker: &str) -> String {
        let url = self.url();
        format!(
            "#!/bin/sh\nset -e\necho '{marker}' > /var/marker\nsync\n\
             if command -v curl > /dev/null; then curl -fsS --retry 10 --retry-connrefused --data '{secret}' {url}\n\
             else wget -q -O /dev/null --post-data '{secret}' {url}\nfi\n"
        )
    }
}

/// Answers posts until the process ends; each body becomes a line of `file`.
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
                if let Some(body) = receive(&stream) {
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
fn receive(mut stream: &TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(READ_LIMIT)).ok()?;
    let mut reader = BufReader::new(stream.take(MOST_BYTES));
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
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()?;
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"POST /report HTTP/1.1\r\nHost: x\r\ncontent-length: 6\r\n\r\nsecret").unwrap();
        let (stream, _) = listener.accept().unwrap();
        assert_eq!(receive(&stream).as_deref(), Some("secret"));
    }
}
