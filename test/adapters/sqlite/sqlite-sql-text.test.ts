import { expect, test } from 'vitest'
import { transactionWord } from '../../../src/adapters/sqlite/sqlite-sql-text.ts'

test.each([
  ['BEGIN', 'BEGIN'],
  ['begin immediate', 'BEGIN'],
  ['  /* a ; comment */ -- another ; one\n commit', 'COMMIT'],
  ['INSERT INTO t VALUES (1); ROLLBACK TO x', 'ROLLBACK'],
  [`SELECT ';' AS "a;b", [c;d], \`e;f\`;END`, 'END'],
  ['CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END; SAVEPOINT s', 'SAVEPOINT'],
  [';;release s', 'RELEASE'],
])('finds what would begin or end a transaction in %j', (sql, word) => {
  expect(transactionWord(sql)).toBe(word)
})

test.each([
  '',
  'SELECT 1',
  "INSERT INTO t VALUES ('; COMMIT')",
  "INSERT INTO t VALUES ('it''s; COMMIT')",
  'SELECT "; COMMIT", [; COMMIT], `; COMMIT` FROM t',
  '-- ; COMMIT\nSELECT 1',
  '/* ; COMMIT */ SELECT 1',
  'INSERT OR ROLLBACK INTO t VALUES (1)',
  'SELECT commit, "end" FROM release',
  'CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE a SET x = CASE WHEN 1 THEN 2 END; DELETE FROM b; END; SELECT 1',
  'create temp trigger if not exists t after insert on a begin select 1; end',
])('finds nothing in %j', (sql) => {
  expect(transactionWord(sql)).toBeUndefined()
})
