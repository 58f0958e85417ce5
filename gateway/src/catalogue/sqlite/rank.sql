-- The rank of the source whose value is in force.
ALTER TABLE datastream_states ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;
