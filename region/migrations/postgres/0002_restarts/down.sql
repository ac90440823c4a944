ALTER TABLE boots DROP COLUMN restarted_at;
