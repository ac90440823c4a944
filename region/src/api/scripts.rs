//! `farrier.v1.Scripts`.

use farrier_common::name::Name;
use farrier_proto::v1::{self, scripts_server::Scripts};
use tonic::Request;

use super::{
    Api,
    calls::{Answer, SHORT},
    parse,
    words::{script_kind_from_wire, script_kind_to_wire, time_to_wire},
};
use crate::{
    app::scripts::{Listing, NewScript},
    domain::{
        Error, Result,
        script::{BuiltIn, DEFAULT_SECONDS, MOST_CONTENT, MOST_SECONDS, Run, Script, ScriptKind},
    },
};

const MOST_DESCRIPTION: usize = 500;

#[tonic::async_trait]
impl Scripts for Api {
    async fn get_script(&self, request: Request<v1::GetScriptRequest>) -> Answer<v1::Script> {
        self.read(request, |app, _, q| async move {
            Ok(match app.script_get(&q.script).await? {
                Listing::BuiltIn(b) => built_in(b),
                Listing::Made(s) => v1::Script { content: s.content.clone(), ..render(&s) },
            })
        })
        .await
    }

    async fn list_scripts(&self, request: Request<v1::ListScriptsRequest>) -> Answer<v1::ListScriptsResponse> {
        self.read(request, |app, _, q| async move {
            let listed = app.script_list(&parse::page(q.page)?).await?;
            let next_page_token = parse::next_token(&listed);
            let scripts = listed.items.iter().map(|s| match s {
                Listing::BuiltIn(b) => built_in(b),
                Listing::Made(s) => render(s),
            });
            Ok(v1::ListScriptsResponse { scripts: scripts.collect(), next_page_token })
        })
        .await
    }

    async fn create_script(&self, request: Request<v1::CreateScriptRequest>) -> Answer<v1::Script> {
        self.mutate(("CreateScript", SHORT), request, render, |app, ask, q| async move {
            app.script_create(&ask, new(q)?).await
        })
        .await
    }

    async fn delete_script(&self, request: Request<v1::DeleteScriptRequest>) -> Answer<v1::Script> {
        self.mutate(("DeleteScript", SHORT), request, render, |app, ask, q| async move {
            app.script_delete(&ask, &q.script).await
        })
        .await
    }
}

fn new(q: v1::CreateScriptRequest) -> Result<NewScript> {
    let name: Name = parse::name("name", &q.name)?;
    let kind = script_kind_from_wire("kind", q.kind)?;
    content(&q.content)?;
    let timeout_seconds = match q.timeout_seconds {
        0 => DEFAULT_SECONDS,
        given if given <= MOST_SECONDS => given,
        _ => return Err(Error::invalid("timeout_seconds", format!("must be 1 to {MOST_SECONDS}, or 0 for 600"))),
    };
    if q.description.chars().count() > MOST_DESCRIPTION || q.description.chars().any(char::is_control) {
        let why = format!("has at most {MOST_DESCRIPTION} characters, none of them control characters");
        return Err(Error::invalid("description", why));
    }
    Ok(NewScript { name, kind, content: q.content, timeout_seconds, description: q.description })
}

fn content(text: &str) -> Result<()> {
    let wrong = |why: String| Err(Error::invalid("content", why));
    if text.len() > MOST_CONTENT {
        return wrong(format!("has {} bytes; at most {MOST_CONTENT} are kept", text.len()));
    }
    if !text.starts_with("#!") {
        return wrong("must begin with #! and the program that runs it, such as #!/bin/sh".to_owned());
    }
    if text.contains('\0') {
        return wrong("must not hold a NUL character".to_owned());
    }
    Ok(())
}

fn render(script: &Script) -> v1::Script {
    v1::Script {
        id: script.id.to_string(),
        name: script.name.to_string(),
        kind: script_kind_to_wire(script.kind).into(),
        // Only in GetScript.
        content: String::new(),
        timeout_seconds: script.timeout_seconds,
        built_in: false,
        description: script.description.clone(),
        created_at: Some(time_to_wire(script.created_at)),
        // A script does not change: another one of its name has another id.
        etag: "1".to_owned(),
    }
}

fn built_in(test: &BuiltIn) -> v1::Script {
    v1::Script {
        name: test.name.to_owned(),
        kind: script_kind_to_wire(ScriptKind::Test).into(),
        timeout_seconds: test.timeout_seconds,
        built_in: true,
        description: test.description.to_owned(),
        etag: "1".to_owned(),
        ..v1::Script::default()
    }
}

/// What a script did on a machine.
pub(super) fn run(run: &Run) -> v1::ScriptResult {
    v1::ScriptResult {
        script: run.outcome.script.to_string(),
        kind: run.kind.to_string(),
        status: run.outcome.status.to_string(),
        exit_code: run.outcome.exit_code,
        output: run.outcome.output.clone(),
        started_at: Some(time_to_wire(run.outcome.started_at)),
        finished_at: Some(time_to_wire(run.outcome.finished_at)),
        boot_id: run.boot.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_names_its_field() {
        let good = || v1::CreateScriptRequest {
            name: "burn-in".to_owned(),
            kind: v1::ScriptKind::Test.into(),
            content: "#!/bin/sh\nexit 0\n".to_owned(),
            ..v1::CreateScriptRequest::default()
        };
        assert_eq!(new(good()).unwrap().timeout_seconds, 600);
        type Spoil = fn(&mut v1::CreateScriptRequest);
        let spoiled: [(&str, Spoil); 8] = [
            ("name", |q| q.name = "Burn In".into()),
            ("kind", |q| q.kind = 0),
            ("content", |q| q.content = "echo hello".into()),
            ("content", |q| q.content = "#!/bin/sh\n\0".into()),
            ("content", |q| q.content = format!("#!/bin/sh\n{}", "x".repeat(256 << 10))),
            ("timeout_seconds", |q| q.timeout_seconds = 86_401),
            ("description", |q| q.description = "a\nb".into()),
            ("description", |q| q.description = "x".repeat(501)),
        ];
        for (field, spoil) in spoiled {
            let mut q = good();
            spoil(&mut q);
            let told = new(q).unwrap_err().to_string();
            assert!(told.starts_with(&format!("{field}: ")), "{told}");
        }
    }
}
