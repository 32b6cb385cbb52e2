import { describe } from 'vitest'
import { testStore } from '../../src/testing/index.ts'
import { concurrently } from './register.ts'
import { memoryStoreSubject } from './store-memory-subject.ts'

describe('the memory store', { timeout: 30_000 }, () => {
  testStore(concurrently, memoryStoreSubject)
})
