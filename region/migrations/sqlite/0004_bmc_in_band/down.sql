DELETE FROM tasks WHERE kind = 'bmc-account';
CREATE TABLE tasks_old (
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
INSERT INTO tasks_old SELECT id, boot, machine, number, kind, status, text, result, created_at, started_at, finished_at FROM tasks;
DROP TABLE tasks;
ALTER TABLE tasks_old RENAME TO tasks;
CREATE INDEX tasks_by_machine ON tasks (machine, created_at);
