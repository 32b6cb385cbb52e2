import { describe } from 'vitest'
import { testTransport } from '../../src/testing/index.ts'
import { concurrently } from './register.ts'
import { sqliteSubject } from './sqlite-subject.ts'

describe('sqlite', { timeout: 120_000 }, () => {
  testTransport(concurrently, sqliteSubject)
})
