-- Times are UTC with microseconds. Ids are UUIDs as text, JSON is text: one meaning in both databases.

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'user', 'admin')),
    created_at TIMESTAMP NOT NULL
);

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    digest TEXT NOT NULL UNIQUE,
    comment TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL,
    expires_at TIMESTAMP,
    revoked BOOLEAN NOT NULL
);
CREATE INDEX tokens_by_user ON tokens (user_id, id);

CREATE TABLE racks (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    address TEXT NOT NULL,
    software_version TEXT NOT NULL,
    last_seen TIMESTAMP,
    snapshot TEXT,
    intents BIGINT NOT NULL,
    certificate_expires_at TIMESTAMP NOT NULL
);

CREATE TABLE join_tokens (
    digest TEXT NOT NULL PRIMARY KEY,
    rack_name TEXT NOT NULL,
    expires_at TIMESTAMP NOT NULL,
    -- Of the key that used the token up: the same rack may repeat an enrolment whose answer was lost.
    key_digest TEXT
);

CREATE TABLE subnets (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    cidr TEXT NOT NULL,
    rack TEXT NOT NULL REFERENCES racks (id),
    gateway TEXT,
    dns TEXT NOT NULL,
    dynamic_start TEXT NOT NULL,
    dynamic_end TEXT NOT NULL,
    lease_seconds BIGINT NOT NULL
);

CREATE TABLE images (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('disk', 'ephemeral')),
    architecture TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL,
    -- A replaced image stays: deployments in progress refer to it by id.
    replaced_at TIMESTAMP
);
CREATE UNIQUE INDEX images_current_name ON images (name) WHERE replaced_at IS NULL;

CREATE TABLE image_blobs (
    image TEXT NOT NULL REFERENCES images (id),
    role TEXT NOT NULL CHECK (role IN ('disk', 'kernel', 'initrd')),
    sha256 TEXT NOT NULL,
    size BIGINT NOT NULL,
    compression TEXT NOT NULL,
    content_sha256 TEXT NOT NULL,
    content_size BIGINT NOT NULL,
    PRIMARY KEY (image, role)
);
CREATE INDEX image_blobs_by_digest ON image_blobs (sha256);

CREATE TABLE machines (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN (
        'new', 'commissioning', 'testing', 'ready', 'allocated', 'deploying',
        'deployed', 'releasing', 'entering-rescue', 'rescue', 'exiting-rescue', 'broken',
        'failed-commissioning', 'failed-testing', 'failed-deployment', 'failed-releasing', 'failed-entering-rescue', 'failed-exiting-rescue'
    )),
    phase TEXT,
    version BIGINT NOT NULL,
    epoch BIGINT NOT NULL DEFAULT 0,
    lease_owner TEXT,
    lease_until TIMESTAMP,
    due_at TIMESTAMP,
    -- Somebody made the machine due since it was claimed.
    woken BOOLEAN NOT NULL DEFAULT FALSE,
    reason TEXT NOT NULL,
    since TIMESTAMP NOT NULL,
    deadline TIMESTAMP,
    phase_since TIMESTAMP,
    attempts INTEGER NOT NULL,
    last_error TEXT,
    owner TEXT REFERENCES users (id),
    rack TEXT REFERENCES racks (id),
    architecture TEXT NOT NULL,
    firmware TEXT,
    power TEXT CHECK (power IN ('off', 'on')),
    power_at TIMESTAMP,
    -- When the power was last handed out to be asked for.
    polled_at TIMESTAMP,
    -- Taken from details: machines with a BMC are searched for.
    bmc_address TEXT,
    details TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL,
    updated_at TIMESTAMP NOT NULL
);
CREATE INDEX machines_due ON machines (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX machines_by_rack ON machines (rack);
CREATE INDEX machines_by_power ON machines (power_at) WHERE bmc_address IS NOT NULL;

CREATE TABLE interfaces (
    mac TEXT NOT NULL PRIMARY KEY,
    machine TEXT NOT NULL REFERENCES machines (id),
    position INTEGER NOT NULL,
    address TEXT UNIQUE
);
CREATE INDEX interfaces_by_machine ON interfaces (machine, position);

CREATE TABLE boots (
    id TEXT NOT NULL PRIMARY KEY,
    machine TEXT NOT NULL REFERENCES machines (id),
    purpose TEXT NOT NULL,
    hello_at TIMESTAMP,
    session_digest TEXT,
    phoned_home_at TIMESTAMP,
    created_at TIMESTAMP NOT NULL
);
CREATE INDEX boots_by_machine ON boots (machine);

CREATE TABLE tasks (
    id TEXT NOT NULL PRIMARY KEY,
    boot TEXT NOT NULL REFERENCES boots (id),
    machine TEXT NOT NULL REFERENCES machines (id),
    number INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('inventory', 'write-image', 'erase', 'power-off')),
    status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'done', 'failed')),
    -- How far it is, or why it failed.
    text TEXT NOT NULL,
    result TEXT,
    created_at TIMESTAMP NOT NULL,
    started_at TIMESTAMP,
    finished_at TIMESTAMP,
    UNIQUE (boot, number)
);
CREATE INDEX tasks_by_machine ON tasks (machine, created_at);

CREATE TABLE secrets (
    purpose TEXT NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL,
    updated_at TIMESTAMP NOT NULL
);

-- No foreign key: the log outlives what it tells of.
CREATE TABLE events (
    revision INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at TIMESTAMP NOT NULL,
    kind TEXT NOT NULL,
    machine TEXT,
    event TEXT,
    from_state TEXT,
    to_state TEXT,
    phase TEXT,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX events_by_machine ON events (machine, revision);

CREATE TABLE boot_steps (
    id TEXT NOT NULL PRIMARY KEY,
    at TIMESTAMP NOT NULL,
    mac TEXT NOT NULL,
    machine TEXT,
    boot TEXT,
    kind TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX boot_steps_by_machine ON boot_steps (machine, at);
CREATE INDEX boot_steps_by_age ON boot_steps (at);

CREATE TABLE requests (
    principal TEXT NOT NULL,
    request_id TEXT NOT NULL,
    method TEXT NOT NULL,
    body_sha256 TEXT NOT NULL,
    answer BLOB NOT NULL,
    created_at TIMESTAMP NOT NULL,
    PRIMARY KEY (principal, request_id)
);
CREATE INDEX requests_by_age ON requests (created_at);
