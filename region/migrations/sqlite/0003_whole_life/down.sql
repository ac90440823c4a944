ALTER TABLE racks DROP COLUMN http_port;
DELETE FROM tasks WHERE kind IN ('run-scripts', 'open-ssh');
CREATE TABLE tasks_old (
    id TEXT NOT NULL PRIMARY KEY,
    boot TEXT NOT NULL REFERENCES boots (id),
    machine TEXT NOT NULL REFERENCES machines (id),
    number INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('inventory', 'write-image', 'erase', 'power-off')),
    status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'done', 'failed')),
    text TEXT NOT NULL,
    result TEXT,
    created_at TIMESTAMP NOT NULL,
    started_at TIMESTAMP,
    finished_at TIMESTAMP,
    UNIQUE (boot, number)
);
INSERT INTO tasks_old SELECT id, boot, machine, number, kind, status, text, result, created_at, started_at, finished_at FROM tasks;
DROP TABLE tasks;
ALTER TABLE tasks_old RENAME TO tasks;
CREATE INDEX tasks_by_machine ON tasks (machine, created_at);
DROP TABLE live_tokens;
DROP TABLE operation_items;
DROP TABLE operations;
DROP TABLE script_results;
DROP TABLE scripts;
ALTER TABLE boots DROP COLUMN heard_at;
DROP INDEX machines_by_project;
DROP INDEX machines_by_owner;
DROP INDEX machines_by_state;
DROP INDEX machines_by_pool;
ALTER TABLE machines DROP COLUMN reason_code;
ALTER TABLE machines DROP COLUMN owner_project;
ALTER TABLE machines DROP COLUMN tags;
ALTER TABLE machines DROP COLUMN zone;
ALTER TABLE machines DROP COLUMN pool;
DROP TABLE audit;
DROP TABLE ssh_keys;
DROP TABLE pool_grants;
DROP TABLE pools;
DROP TABLE project_members;
DROP TABLE projects;
ALTER TABLE users DROP COLUMN version;
ALTER TABLE users DROP COLUMN disabled;
ALTER TABLE users DROP COLUMN max_machines;
