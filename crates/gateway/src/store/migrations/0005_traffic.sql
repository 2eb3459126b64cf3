-- How many tasks each provider works on is asked every second.
CREATE INDEX attempts_busy ON attempts (provider) WHERE is_open = 1;
