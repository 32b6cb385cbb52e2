import { describe } from 'vitest'
import { testTransport } from '../../src/testing/index.ts'
import { memorySubject } from './memory-subject.ts'
import { concurrently } from './register.ts'

describe('memory', { timeout: 30_000 }, () => {
  testTransport(concurrently, memorySubject)
})
