-- MariaDB through Debezium 3. Statements end with a semicolon at a line's end.
CREATE TABLE users (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(100) NOT NULL, email VARCHAR(100) UNIQUE NOT NULL, created_at DATE NOT NULL);
CREATE TABLE counted (id INT PRIMARY KEY, n INT, v TEXT);
CREATE TABLE truncated (id INT PRIMARY KEY, v TEXT);
CREATE TABLE by_time (dt DATE, tm TIME(6), dtm DATETIME(6), ts TIMESTAMP(6) NOT NULL DEFAULT '2024-01-01', v TEXT, PRIMARY KEY (dt, tm, dtm, ts));
CREATE TABLE types (id INT PRIMARY KEY, t1 TINYINT(1), tu TINYINT UNSIGNED, su SMALLINT UNSIGNED, m MEDIUMINT, iu INT UNSIGNED, b BIGINT, bu BIGINT UNSIGNED, d DECIMAL(10,2), d65 DECIMAL(65,30), f FLOAT, db DOUBLE,
  bit1 BIT(1), bit8 BIT(8), c CHAR(5), bn BINARY(4), vb VARBINARY(10), bl BLOB, e ENUM('a','b'), st SET('x','y','z'), j JSON, dt DATE, tm TIME, tm3 TIME(3), tm6 TIME(6), dtm DATETIME, dtm3 DATETIME(3), dtm6 DATETIME(6),
  ts TIMESTAMP NULL, ts6 TIMESTAMP(6) NULL, y YEAR, p POINT, g GEOMETRY, u UUID, df VARCHAR(10) DEFAULT 'dflt');
INSERT INTO users (name, email, created_at) VALUES ('Snap One', 'snap1@example.com', '2024-01-01'), ('Snap Two', 'snap2@example.com', '2024-02-02'), ('Snap Three', 'snap3@example.com', '2024-03-03');
INSERT INTO counted VALUES (1, 0, 'snapshot'), (2, 0, 'snapshot');
INSERT INTO truncated VALUES (1, 'a'), (2, 'b');
INSERT INTO by_time VALUES ('2024-02-29', '13:14:15.123456', '2024-02-29 13:14:15.123456', '2024-02-29 13:14:15.123456', 'snapshot');
INSERT INTO types (id, dt, tm6, dtm6, ts6) VALUES (1, '2024-02-29', '13:14:15.123456', '2024-02-29 13:14:15.123456', '2024-02-29 13:14:15.123456');
-- after the snapshot
INSERT INTO users (name, email, created_at) VALUES ('Bob', 'bob@example.com', '2025-01-02'), ('Charlie', 'charlie@example.com', '2023-01-03'), ('Émilie 🎉', 'emma@example.com', '2024-03-05');
UPDATE users SET id = 1000 WHERE email = 'emma@example.com';
UPDATE users SET id = id + 2000 WHERE id IN (1, 2);
REPLACE INTO users (id, name, email, created_at) VALUES (3, 'replaced', 'snap3@example.com', '2024-01-01');
INSERT INTO users (name, email, created_at) VALUES ('Bob up', 'bob@example.com', '2024-01-01') ON DUPLICATE KEY UPDATE name = VALUES(name);
DELETE FROM users WHERE email = 'charlie@example.com';
ALTER TABLE users ADD COLUMN phone VARCHAR(20) AFTER name;
INSERT INTO users (name, email, created_at, phone) VALUES ('Frank', 'frank@example.com', '2024-04-06', '123');
BEGIN;
INSERT INTO counted VALUES (10, 1, 'one'), (11, 1, 'one'), (12, 1, 'one');
UPDATE counted SET n = 2 WHERE id = 10;
UPDATE counted SET n = n + 10;
UPDATE counted SET id = 20 WHERE id = 11;
DELETE FROM counted WHERE id = 12;
INSERT INTO counted VALUES (12, 5, 'again');
UPDATE counted SET n = 6 WHERE id = 12;
UPDATE counted SET n = 7 WHERE id = 12;
COMMIT;
FLUSH BINARY LOGS;
UPDATE counted SET v = 'next log' WHERE id = 1;
TRUNCATE truncated;
INSERT INTO truncated VALUES (2, 'after');
INSERT INTO by_time VALUES ('1969-12-31', '-00:00:00.000001', '1969-12-31 23:59:59.999999', '1970-01-01 00:00:01.000001', 'before 1970'), ('2024-01-01', '23:59:59.999999', '2024-01-01', '2024-01-01', 'gone');
UPDATE by_time SET dtm = dtm + INTERVAL 1 MICROSECOND, v = 'moved' WHERE v <> 'gone';
DELETE FROM by_time WHERE v = 'gone';
INSERT INTO types VALUES (2, 1, 255, 65535, 8388607, 4294967295, -9223372036854775808, 18446744073709551615, 12345678.90, 12345678901234567890123456789012345.123456789012345678901234567890, 1.2345678, 2.718281828459045,
  b'1', b'10100101', 'ab', 'ab', x'0102', x'00ff10', 'b', 'x,z', '{"a":  1}', '2024-02-29', '13:14:15', '13:14:15.123', '-838:59:58.999999', '2024-02-29 13:14:15', '2024-02-29 13:14:15.123', '2024-02-29 13:14:15.123456',
  '2024-02-29 13:14:15', '2024-02-29 13:14:15.123456', 2024, POINT(1.5, 2.5), ST_GeomFromText('POLYGON((0 0, 4 0, 4 4, 0 0))'), '11111111-2222-3333-4444-555555555555', NULL);
INSERT INTO types (id, dt, dtm6, tm) VALUES (3, '9999-12-31', '9999-12-31 23:59:59.999999', '838:59:59'), (4, '0001-01-01', '0001-01-01 00:00:00', '00:00:00');
INSERT IGNORE INTO types (id, dt, dtm, ts) VALUES (5, '0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00');
UPDATE types SET f = 16777216 WHERE id = 2;
DELETE FROM types WHERE id = 4;
