//! A rack for trying the agent by hand: hands out the tasks of its command line, serves one image, prints what is reported.
//!
//! ```text
//! fake_rack AGENT_ADDR HTTP_ADDR BREAK_AFTER TASK...
//! fake_rack 127.0.0.1:5250 127.0.0.1:5248 1000000 inventory write:disk.raw.zst:disk.raw:SERIAL erase:10
//! ```
//! Every HTTP connection is cut after `BREAK_AFTER` bytes, so that the agent has to resume. After the tasks it says power off.

use std::{
    collections::VecDeque,
    fs,
    io::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, bail};
use farrier_common::{clock::Clock, secret::sha256_hex};
use farrier_proto::{
    agent::{
        EnlistRequest, EnlistResponse, EraseTask, HelloRequest, HelloResponse, Idle, InventoryTask, NextTaskRequest,
        NextTaskResponse, NoCloudSeed, PowerOffTask, ReportTaskRequest, ReportTaskResponse, WriteImageTask,
        agent_service_server::{AgentService, AgentServiceServer},
        next_task_response::Task,
        report_task_request::Report,
    },
    v1::{Blob, BlobRole, Compression},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tonic::{Request, Response, Status, transport::Server};

struct FakeRack {
    tasks: Mutex<VecDeque<(String, Task)>>,
}

fn tell(line: &str) {
    let _ = writeln!(std::io::stdout(), "{} {line}", Clock::System.now().format("%T%.3f"));
}

#[tonic::async_trait]
impl AgentService for FakeRack {
    async fn enlist(&self, request: Request<EnlistRequest>) -> Result<Response<EnlistResponse>, Status> {
        tell(&format!("enlist {:?}", request.into_inner().identity));
        Ok(Response::new(EnlistResponse { machine_name: "fake-1".to_owned(), state: "New".to_owned() }))
    }

    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        let request = request.into_inner();
        tell(&format!("hello {} {:?}", request.boot_id, request.identity));
        if request.token == "spent" {
            return Err(Status::permission_denied("the token was used already"));
        }
        Ok(Response::new(HelloResponse { machine_name: "fake-1".to_owned(), purpose: "trial".to_owned() }))
    }

    async fn next_task(&self, _: Request<NextTaskRequest>) -> Result<Response<NextTaskResponse>, Status> {
        let next = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).front().cloned();
        let (task_id, task) = next.unwrap_or_else(|| (String::new(), Task::Idle(Idle {})));
        tell(&format!("hands out {task_id:?}"));
        Ok(Response::new(NextTaskResponse { task_id, task: Some(task) }))
    }

    async fn report_task(&self, request: Request<ReportTaskRequest>) -> Result<Response<ReportTaskResponse>, Status> {
        let request = request.into_inner();
        tell(&format!("{}: {:?}", request.task_id, request.report));
        if !matches!(request.report, Some(Report::Progress(_))) {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            if tasks.front().is_some_and(|(id, _)| *id == request.task_id) {
                tasks.pop_front();
            }
        }
        Ok(Response::new(ReportTaskResponse { stop: false }))
    }
}

fn parse(word: &str, image: &mut Vec<u8>) -> anyhow::Result<Task> {
    let parts: Vec<_> = word.split(':').collect();
    Ok(match parts[..] {
        ["inventory"] => Task::Inventory(InventoryTask {}),
        ["erase", permille] => Task::Erase(EraseTask { sample_permille: permille.parse()? }),
        ["off"] => Task::PowerOff(PowerOffTask {}),
        ["write", file, content, serial] => {
            *image = fs::read(file).with_context(|| format!("cannot read {file}"))?;
            let content = fs::read(content).with_context(|| format!("cannot read {content}"))?;
            let compression = if file.ends_with(".zst") { Compression::Zstd } else { Compression::None };
            let blob = Blob {
                role: BlobRole::Disk.into(),
                sha256: sha256_hex(image),
                size_bytes: image.len() as u64,
                compression: compression.into(),
                content_sha256: sha256_hex(&content),
                content_size_bytes: content.len() as u64,
            };
            let seed = NoCloudSeed {
                user_data: b"#cloud-config\n{}\n".to_vec(),
                meta_data: b"instance-id: fake-1\n".to_vec(),
                network_config: b"version: 2\n".to_vec(),
                vendor_data: Vec::new(),
            };
            Task::WriteImage(WriteImageTask { blob: Some(blob), disk_serial: serial.to_owned(), seed: Some(seed) })
        }
        _ => bail!("{word:?} is not inventory, erase:PERMILLE, write:FILE:CONTENT:SERIAL or off"),
    })
}

/// Answers one request from `image`, at most `most` bytes of it.
async fn serve(mut socket: TcpStream, image: Arc<Vec<u8>>, most: usize) -> anyhow::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        head.push(socket.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let range =
        head.lines().find_map(|l| l.strip_prefix("range: bytes=")).map(|r| r.trim_end_matches('-').parse::<usize>());
    let from = range.transpose()?.unwrap_or(0).min(image.len());
    tell(&format!("GET from byte {from}"));
    let (size, left) = (image.len(), image.len() - from);
    let range = format!("content-range: bytes {from}-{}/{size}\r\n", size.saturating_sub(1));
    let status = if from == 0 { "200 OK\r\n".to_owned() } else { format!("206 Partial Content\r\n{range}") };
    let head = format!("HTTP/1.1 {status}content-length: {left}\r\nconnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(&image[from..from + left.min(most)]).await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let [agent, http, most, tasks @ ..] = &words[..] else {
        bail!("usage: fake_rack AGENT_ADDR HTTP_ADDR BREAK_AFTER TASK...")
    };
    let (agent, http, most): (SocketAddr, SocketAddr, usize) = (agent.parse()?, http.parse()?, most.parse()?);
    let mut image = Vec::new();
    let mut queue = VecDeque::new();
    for (number, word) in tasks.iter().map(String::as_str).chain(["off"]).enumerate() {
        queue.push_back((format!("task-{number}"), parse(word, &mut image)?));
    }
    let image = Arc::new(image);
    let listener = TcpListener::bind(http).await?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let image = Arc::clone(&image);
            tokio::spawn(async move {
                if let Err(error) = serve(socket, image, most).await {
                    tell(&format!("HTTP: {error:#}"));
                }
            });
        }
    });
    let rack = FakeRack { tasks: Mutex::new(queue) };
    Server::builder().add_service(AgentServiceServer::new(rack)).serve(agent).await?;
    Ok(())
}
