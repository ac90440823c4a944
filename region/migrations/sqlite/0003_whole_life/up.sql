-- People: quotas, who may call, projects, pools and who is granted them, keys for SSH, and the audit.
ALTER TABLE users ADD COLUMN max_machines INTEGER;
ALTER TABLE users ADD COLUMN disabled BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE users ADD COLUMN version BIGINT NOT NULL DEFAULT 1;

CREATE TABLE projects (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    max_machines INTEGER,
    version BIGINT NOT NULL,
    created_at TIMESTAMP NOT NULL
);

CREATE TABLE project_members (
    project TEXT NOT NULL REFERENCES projects (id),
    user_id TEXT NOT NULL REFERENCES users (id),
    PRIMARY KEY (project, user_id)
);
CREATE INDEX project_members_by_user ON project_members (user_id);

CREATE TABLE pools (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    -- Granted to all users.
    everyone BOOLEAN NOT NULL,
    version BIGINT NOT NULL,
    created_at TIMESTAMP NOT NULL
);
-- Where machines are that nobody has put anywhere. Its id is known to the code: domain::pool::DEFAULT.
INSERT INTO pools (id, name, description, everyone, version, created_at)
VALUES ('00000000-0000-7000-8000-000000000001', 'default', 'machines that nobody has put anywhere', TRUE, 1, '2026-01-01 00:00:00');

CREATE TABLE pool_grants (
    pool TEXT NOT NULL REFERENCES pools (id),
    -- Of a user or of a project.
    kind TEXT NOT NULL CHECK (kind IN ('user', 'project')),
    subject TEXT NOT NULL,
    PRIMARY KEY (pool, kind, subject)
);
-- Every call asks what is granted to its caller.
CREATE INDEX pool_grants_by_subject ON pool_grants (kind, subject);

CREATE TABLE ssh_keys (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    public_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL,
    UNIQUE (user_id, fingerprint)
);

-- One row for each mutation that was carried out, written with it. No foreign key: it outlives what it tells of.
CREATE TABLE audit (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at TIMESTAMP NOT NULL,
    user_id TEXT NOT NULL,
    user_name TEXT NOT NULL,
    method TEXT NOT NULL,
    target TEXT NOT NULL,
    comment TEXT NOT NULL,
    peer TEXT NOT NULL,
    request_id TEXT NOT NULL
);

-- Machines: where they belong, and for whom a project holds them. Tags are kept as ',a,b,', so that one is found by LIKE.
ALTER TABLE machines ADD COLUMN pool TEXT NOT NULL DEFAULT '00000000-0000-7000-8000-000000000001';
ALTER TABLE machines ADD COLUMN zone TEXT NOT NULL DEFAULT 'default';
ALTER TABLE machines ADD COLUMN tags TEXT NOT NULL DEFAULT '';
ALTER TABLE machines ADD COLUMN owner_project TEXT REFERENCES projects (id);
ALTER TABLE machines ADD COLUMN reason_code TEXT NOT NULL DEFAULT 'unknown';
CREATE INDEX machines_by_pool ON machines (pool);
CREATE INDEX machines_by_bmc ON machines (bmc_address) WHERE bmc_address IS NOT NULL;
CREATE INDEX machines_by_state ON machines (state, id);
CREATE INDEX machines_by_owner ON machines (owner) WHERE owner IS NOT NULL;
CREATE INDEX machines_by_project ON machines (owner_project) WHERE owner_project IS NOT NULL;

-- When the agent of the boot was heard last; written now and then, not with every call.
ALTER TABLE boots ADD COLUMN heard_at TIMESTAMP;
-- What the rack says of a network boot that it holds, because it led nowhere too often.
ALTER TABLE boots ADD COLUMN held TEXT;

-- Scripts, and what they did.
CREATE TABLE scripts (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('commissioning', 'test')),
    content TEXT NOT NULL,
    timeout_seconds INTEGER NOT NULL,
    description TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL
);

CREATE TABLE script_results (
    task TEXT NOT NULL,
    position INTEGER NOT NULL,
    machine TEXT NOT NULL,
    boot TEXT NOT NULL,
    script TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    exit_code INTEGER NOT NULL,
    output TEXT NOT NULL,
    started_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP NOT NULL,
    PRIMARY KEY (task, position)
);
CREATE INDEX script_results_by_machine ON script_results (machine, finished_at);

-- Bulk work.
CREATE TABLE operations (
    id TEXT NOT NULL PRIMARY KEY,
    verb TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'done', 'stopped', 'cancelled')),
    user_id TEXT NOT NULL REFERENCES users (id),
    -- What the verb needs besides the machine, as JSON.
    options TEXT NOT NULL,
    comment TEXT NOT NULL,
    max_parallel INTEGER NOT NULL,
    stop_after_failures INTEGER NOT NULL,
    created_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP,
    -- Who drives it, and until when, as with machines.
    lease_owner TEXT,
    lease_until TIMESTAMP
);
-- Those that still have machines at work, also when nothing new is begun.
CREATE INDEX operations_unfinished ON operations (id) WHERE finished_at IS NULL;
CREATE INDEX operations_by_user ON operations (user_id, id);

CREATE TABLE operation_items (
    operation TEXT NOT NULL REFERENCES operations (id),
    position INTEGER NOT NULL,
    machine TEXT NOT NULL,
    machine_name TEXT NOT NULL,
    -- The state in which the verb may be used, if only there.
    expected TEXT,
    status TEXT NOT NULL CHECK (status IN ('waiting', 'running', 'succeeded', 'failed', 'skipped')),
    text TEXT NOT NULL,
    -- The log's revision before the verb, and whether the verb is known to be carried out.
    revision BIGINT NOT NULL DEFAULT 0,
    asked BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (operation, position)
);

-- What the script of a live machine shows.
CREATE TABLE live_tokens (
    digest TEXT NOT NULL PRIMARY KEY,
    machine TEXT NOT NULL REFERENCES machines (id),
    expires_at TIMESTAMP NOT NULL
);
CREATE INDEX live_tokens_by_machine ON live_tokens (machine);

-- SQLite cannot change a CHECK: tasks are written anew, with the new kinds.
CREATE TABLE tasks_new (
    id TEXT NOT NULL PRIMARY KEY,
    boot TEXT NOT NULL REFERENCES boots (id),
    machine TEXT NOT NULL REFERENCES machines (id),
    number INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('inventory', 'write-image', 'erase', 'power-off', 'run-scripts', 'open-ssh')),
    status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'done', 'failed')),
    -- How far it is, or why it failed.
    text TEXT NOT NULL,
    result TEXT,
    created_at TIMESTAMP NOT NULL,
    started_at TIMESTAMP,
    finished_at TIMESTAMP,
    UNIQUE (boot, number)
);
INSERT INTO tasks_new SELECT id, boot, machine, number, kind, status, text, result, created_at, started_at, finished_at FROM tasks;
DROP TABLE tasks;
ALTER TABLE tasks_new RENAME TO tasks;
CREATE INDEX tasks_by_machine ON tasks (machine, created_at);

-- Where the rack serves HTTP: scripts of live machines report there.
ALTER TABLE racks ADD COLUMN http_port INTEGER NOT NULL DEFAULT 5248;
