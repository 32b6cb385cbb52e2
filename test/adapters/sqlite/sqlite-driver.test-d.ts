import type { DatabaseSync } from 'node:sqlite'
import { expectTypeOf, test } from 'vitest'
import type { SqliteDatabase, SqliteDriver, SqliteOptions } from '../../../src/adapters/sqlite/index.ts'

test('the class and the databases of node:sqlite fit', () => {
  expectTypeOf<DatabaseSync>().toExtend<SqliteDatabase>()
  expectTypeOf<typeof DatabaseSync>().toExtend<SqliteDriver>()
})

test('a file or a database, never both and never neither', () => {
  expectTypeOf<{ file: string }>().toExtend<SqliteOptions>()
  expectTypeOf<{ database: DatabaseSync }>().toExtend<SqliteOptions>()
  expectTypeOf<{ file: string; database: DatabaseSync }>().not.toExtend<SqliteOptions>()
  expectTypeOf<{ lockWaitMs: number }>().not.toExtend<SqliteOptions>()
})

test('words outside the options are refused', () => {
  expectTypeOf<{ file: string; synchronous: 'off' }>().not.toExtend<SqliteOptions>()
  expectTypeOf<{ file: string; processes: 'two' }>().not.toExtend<SqliteOptions>()
})
