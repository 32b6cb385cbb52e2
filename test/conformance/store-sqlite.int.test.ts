import { describe } from 'vitest'
import { testStore } from '../../src/testing/index.ts'
import { concurrently } from './register.ts'
import { sqliteStoreSubject } from './store-sqlite-subject.ts'

describe('the SQLite store', { timeout: 60_000 }, () => {
  testStore(concurrently, sqliteStoreSubject)
})
