-- When the machine came back with the boot's spent token: it started anew in the middle of the boot.
ALTER TABLE boots ADD COLUMN restarted_at TIMESTAMP;
