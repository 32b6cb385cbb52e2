import { afterAll, describe } from 'vitest'
import { testStore } from '../../src/testing/index.ts'
import { concurrently } from './register.ts'
import { PostgresStoreSubject } from './store-postgres-subject.ts'

describe('the PostgreSQL store', { timeout: 60_000 }, () => {
  const subject = new PostgresStoreSubject()
  afterAll(async () => {
    await subject.close()
  })
  testStore(concurrently, subject)
})
