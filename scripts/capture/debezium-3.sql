-- What Debezium 3 sends otherwise than 2.7, or sends at all. Statements end with a semicolon at a line's end.
CREATE EXTENSION IF NOT EXISTS hstore;
CREATE EXTENSION IF NOT EXISTS ltree;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE EXTENSION IF NOT EXISTS postgis;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE times (id int PRIMARY KEY, what text, d date, t time, t0 time(0), t3 time(3), tt timetz, ts timestamp, ts0 timestamp(0),
  ts3 timestamp(3), tz timestamptz, tz3 timestamptz(3), iv interval, da date[], ta time[], tsa timestamp[], tza timestamptz[]);
CREATE TABLE by_time (d date, t time, ts timestamp, tz timestamptz, v text, PRIMARY KEY (d, t, ts, tz));
CREATE TABLE far (id int PRIMARY KEY, what text, d date, ts timestamp, tz timestamptz);
CREATE TABLE far_nanos (id int PRIMARY KEY, what text, ts timestamp);
CREATE TABLE arrays (id int PRIMARY KEY, n int, sa smallint[], ia int[], la bigint[], fa real[], ea double precision[], na numeric(10,2)[],
  va numeric[], oa boolean[], ta text[], ca varchar(10)[], ua uuid[], da date[], ma time[], tsa timestamp[], tza timestamptz[], ba bytea[],
  ja json[], xa jsonb[], xb jsonb, h hstore, l ltree, ga mood[], ra int4range[], na4 inet[]);
CREATE TABLE moved (id int PRIMARY KEY, n int, big text, bin bytea, j jsonb, ta text[], fa real[], ea double precision[], na numeric(10,2)[], tsa timestamp[]);
CREATE TABLE places (id int PRIMARY KEY, n int, g geometry, gp geometry(Point, 4326), gg geography, p point);
CREATE TABLE others (id int PRIMARY KEY, h hstore, l ltree, la ltree[], c citext, ip inet, net cidr, mac macaddr, mac8 macaddr8, x xml,
  v tsvector, b1 bit(1), b8 bit(8), vb varbit, m money, ir int4range, nr numrange, lr int8range, dr daterange, tr tsrange, zr tstzrange,
  e mood, ea mood[], dom positive, o oid, ch "char", n name, j json, jb jsonb, vn numeric, nn numeric(40,5), u uuid);
DO $$ DECLARE c record; BEGIN FOR c IN SELECT table_name t, column_name n FROM information_schema.columns
  WHERE table_schema = 'public' AND table_name IN ('arrays', 'moved', 'places') AND data_type NOT IN ('integer', 'point')
  LOOP EXECUTE format('ALTER TABLE %I ALTER %I SET STORAGE EXTERNAL', c.t, c.n); END LOOP; END $$;
ALTER TABLE arrays SET (toast_tuple_target = 128);
ALTER TABLE moved SET (toast_tuple_target = 128);
ALTER TABLE places SET (toast_tuple_target = 128);
INSERT INTO times (id, what, d, t, ts, tz) VALUES (1, 'of the snapshot', '2024-02-29', '13:14:15.123456', '2024-02-29 13:14:15.123456', '2024-02-29 13:14:15.123456+02');
INSERT INTO by_time VALUES ('2024-02-29', '13:14:15.123456', '2024-02-29 13:14:15.123456', '2024-02-29 13:14:15.123456+02', 'snapshot');
INSERT INTO far VALUES (1, 'of the snapshot', '2024-01-01', '2024-01-01', '2024-01-01'), (20, 'infinity', 'infinity', 'infinity', 'infinity'), (21, '-infinity', '-infinity', '-infinity', '-infinity');
INSERT INTO far_nanos VALUES (1, 'of the snapshot', '2024-01-01'), (20, 'infinity', 'infinity'), (21, '-infinity', '-infinity');
INSERT INTO arrays SELECT i, 0, array_fill(7::smallint, ARRAY[200]), array_fill(7, ARRAY[100]), array_fill(8::bigint, ARRAY[100]),
  array_fill(1.5::real, ARRAY[100]), array_fill(2.25::double precision, ARRAY[100]), array_fill(1.25::numeric(10,2), ARRAY[50]),
  array_fill(1.123456789::numeric, ARRAY[50]), array_fill(true, ARRAY[300]), array_fill('text'::text, ARRAY[60]), array_fill('varchar'::varchar, ARRAY[60]),
  array_fill('00000000-0000-0000-0000-000000000001'::uuid, ARRAY[30]), array_fill(DATE '2024-01-01', ARRAY[60]), array_fill(TIME '13:14:15.123456', ARRAY[60]),
  array_fill(TIMESTAMP '2024-01-01 13:14:15.123456', ARRAY[60]), array_fill(TIMESTAMPTZ '2024-01-01 13:14:15.123456+00', ARRAY[60]), array_fill('\x0102'::bytea, ARRAY[60]),
  array_fill('{"a": 1}'::json, ARRAY[40]), array_fill('{"a": 1}'::jsonb, ARRAY[40]), to_jsonb(repeat('j', 300)), hstore('k', repeat('h', 300)), text2ltree('a' || repeat('.b', 200)),
  array_fill('ok'::mood, ARRAY[100]), array_fill(int4range(1, 5), ARRAY[40]), array_fill('10.0.0.1'::inet, ARRAY[60]) FROM generate_series(1, 2) i;
INSERT INTO moved SELECT i, 0, repeat('t' || i, 200), decode(repeat('a' || i, 300), 'hex'), to_jsonb(repeat('j' || i, 200)), array_fill('x' || i, ARRAY[100]),
  array_fill(i::real, ARRAY[100]), array_fill(i::double precision, ARRAY[100]), array_fill(i::numeric(10,2), ARRAY[100]), array_fill(TIMESTAMP '2024-01-01' + i * interval '1 day', ARRAY[60]) FROM generate_series(1, 4) i;
INSERT INTO places SELECT 1, 0, ST_MakeLine(array_agg(ST_MakePoint(i, i))), ST_SetSRID(ST_MakePoint(1.5, 2.5), 4326), ST_GeogFromText('SRID=4326;POINT(1 2)'), '(1,2)' FROM generate_series(1, 200) i;
INSERT INTO others (id, h, c) VALUES (1, 'a=>1, b=>NULL', 'Snapshot');
-- after the snapshot
INSERT INTO times VALUES (2, 'all', '2024-02-29', '13:14:15.123456', '13:14:15', '13:14:15.123', '13:14:15.123456+05:30', '2024-02-29 13:14:15.123456', '2024-02-29 13:14:15',
  '2024-02-29 13:14:15.123', '2024-02-29 13:14:15.123456+05:30', '2024-02-29 13:14:15.123-08', '1 year 2 mons 3 days 04:05:06.789', '{2024-02-29,NULL,1969-12-31}',
  '{13:14:15.123456,NULL,00:00:00}', '{"2024-02-29 13:14:15.123456",NULL,"1969-12-31 23:59:59.999999"}', '{"2024-02-29 13:14:15.123456+02",NULL}');
INSERT INTO times VALUES (3, 'before 1970', '1969-12-31', '00:00:00.000001', '00:00:00', '23:59:59.999', '00:00:00+00', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59',
  '1969-12-31 23:59:59.999', '1969-12-31 23:59:59.999999+00', '1900-01-01 00:00:00+00', '-1 day -00:00:00.000001', '{}', '{}', '{}', '{}');
INSERT INTO times (id, what, d, ts, ts0, ts3, tz) VALUES (4, 'within nanoseconds', '1678-01-01', '1677-09-21 00:12:44', '2262-04-11 23:47:16', '1883-11-18 12:00:00', '1677-09-22 00:00:00+00');
INSERT INTO times (id, what, t, t0, t3, tt) VALUES (5, 'end of day', '24:00:00', '24:00:00', '23:59:59.999', '24:00:00+00');
INSERT INTO times (id, what, tt, ts) VALUES (6, 'no seconds', '11:14+00', '2024-06-01 11:00:00'), (7, 'zones', '11:14:15.123456Z', '2024-06-01 11:14:15.12'), (8, 'far zone', '23:59:59.999999-15:59', '2024-06-01 11:14:15.1');
UPDATE times SET what = 'changed', ts = ts + interval '1 microsecond' WHERE id = 2;
UPDATE times SET id = 30 WHERE id = 3;
DELETE FROM times WHERE id = 4;
INSERT INTO by_time VALUES ('1969-12-31', '00:00:00', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999+00', 'before 1970'), ('2024-01-01', '23:59:59.999999', '2024-01-01', '2024-01-01 00:00:00-08', 'gone');
UPDATE by_time SET d = d + 1, v = 'a day later' WHERE v = 'snapshot';
UPDATE by_time SET ts = ts + interval '1 microsecond', tz = tz - interval '1 microsecond', v = 'a microsecond on' WHERE v = 'before 1970';
DELETE FROM by_time WHERE v = 'gone';
INSERT INTO far (id, what, d) VALUES (2, 'infinity', 'infinity'), (3, '-infinity', '-infinity'), (4, '44 BC', '0044-03-15 BC'), (5, 'year 1', '0001-01-01'), (6, '9999', '9999-12-31'), (7, '294276', '294276-01-01');
INSERT INTO far (id, what, ts) VALUES (8, 'infinity', 'infinity'), (9, '-infinity', '-infinity'), (10, '44 BC', '0044-03-15 BC'), (11, 'year 1', '0001-01-01'), (12, '9999', '9999-12-31 23:59:59.999999'), (13, '99999', '99999-01-01');
INSERT INTO far (id, what, tz) VALUES (14, 'infinity', 'infinity'), (15, '-infinity', '-infinity'), (16, '44 BC', '0044-03-15 BC'), (17, 'year 1', '0001-01-01'), (18, '9999', '9999-12-31 23:59:59.999999+00'), (19, '20000', '20000-01-01');
INSERT INTO far_nanos VALUES (2, 'infinity', 'infinity'), (3, '-infinity', '-infinity');
INSERT INTO far_nanos VALUES (4, '1582', '1582-10-15'), (5, '9999', '9999-12-31 23:59:59.999999');
UPDATE arrays SET n = 1 WHERE id = 1;
INSERT INTO arrays (id, sa, ia, la, fa, ea, na, va, oa, ta, ua, da, tsa) VALUES (3, '{1,NULL}', '{1,NULL}', '{9007199254740993,NULL}', '{1.5,NULL,NaN}', '{2.5,NULL,Infinity}', '{1.25,NULL}', '{1.1,NULL,1e30}',
  '{t,NULL,f}', '{a,NULL,"c d"}', '{00000000-0000-0000-0000-000000000001,NULL}', '{2024-01-01,NULL}', '{"2024-01-01 00:00:00.000001",NULL}');
INSERT INTO arrays (id, sa, ia, ta) VALUES (4, '{}', '{}', '{}');
UPDATE arrays SET ia = '{5}' WHERE id = 2;
UPDATE arrays SET id = 20 WHERE id = 2;
UPDATE moved SET n = n + 10 WHERE id = 1;
UPDATE moved SET id = 11 WHERE id = 1;
UPDATE moved SET id = id + 20 WHERE id IN (2, 3);
BEGIN; UPDATE moved SET id = 99 WHERE id = 4; UPDATE moved SET id = 4 WHERE id = 99; COMMIT;
UPDATE moved SET big = 'short', fa = NULL WHERE id = 11;
UPDATE places SET n = 1 WHERE id = 1;
INSERT INTO places VALUES (2, 0, ST_GeomFromText('POLYGON((0 0, 4 0, 4 4, 0 0))', 3857), ST_SetSRID(ST_MakePoint(-1, 0), 4326), ST_GeogFromText('LINESTRING(1 2, 3 4)'), '(-1.5,1e10)'), (3, 0, ST_GeomFromText('POINT Z (1 2 3)'), NULL, NULL, NULL);
UPDATE places SET id = 10 WHERE id = 1;
INSERT INTO others VALUES (2, 'k=>v, "odd key"=>"odd \"value\""', 'Top.Child', '{a.b,c}', 'CiText', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', '<a>x</a>',
  'a fat cat'::tsvector, B'1', B'10100101', B'1010', '$1,234.56', '[1,5)', '[1.5,2.5]', '[1,9007199254740993)', '[2024-01-01,2024-02-01)', '[2024-01-01 00:00:00,2024-01-02 00:00:00)', '[2024-01-01 00:00:00+00,)',
  'happy', '{sad,ok}', 5, 4294967295, 'x', 'a name', '{"a":  1}', '{"a":  1}', 1/3::numeric, 12345678901234567890123456789012345.12345, '11111111-2222-3333-4444-555555555555');
INSERT INTO others (id, h, b1, vb, m, ir, vn) VALUES (3, '', B'0', B'', '-$0.01', 'empty', 'NaN');
DELETE FROM others WHERE id = 1;
TRUNCATE far_nanos;
INSERT INTO far_nanos VALUES (9, 'after truncate', '2024-01-01');
