-- An account on a BMC may be made from inside the machine.
ALTER TABLE tasks DROP CONSTRAINT tasks_kind_check;
ALTER TABLE tasks ADD CONSTRAINT tasks_kind_check CHECK (kind IN ('inventory', 'write-image', 'erase', 'power-off', 'run-scripts', 'open-ssh', 'bmc-account'));
