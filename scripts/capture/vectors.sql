-- Vectors of pgvector.
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE vectors (id int PRIMARY KEY, n int, v vector(3), h halfvec(3), s sparsevec(10), w vector);
ALTER TABLE vectors ALTER w SET STORAGE EXTERNAL;
INSERT INTO vectors SELECT 1, 0, '[1,2.5,-3]', '[1,2.5,-3]', '{1:1.5,10:-2}/10', array_fill(0.5::real, ARRAY[1000])::vector;
-- after the snapshot
INSERT INTO vectors SELECT 2, 0, '[0.1,1e-30,1e30]', '[0.1,6e-8,65504]', '{}/10', array_fill(0.25::real, ARRAY[1000])::vector;
INSERT INTO vectors (id) VALUES (3);
UPDATE vectors SET n = 1 WHERE id = 1;
UPDATE vectors SET id = 20 WHERE id = 2;
UPDATE vectors SET v = '[9,9,9]', s = '{2:7}/10' WHERE id = 20;
DELETE FROM vectors WHERE id = 3;
