import { afterAll, beforeAll, describe } from 'vitest'
import { conformanceCases, testTransport } from '../../src/testing/index.ts'
import { postgresSubject } from './postgres-subject.ts'
import { concurrently } from './register.ts'

// Two hops within 200 ms are less than the time between two looks.
const TOO_FAST = 'shortens the deadline of a second hop to that of the first'

// Without LISTEN, as behind a pooler: everything is found by looking.
describe('postgres by polling', { timeout: 150_000 }, () => {
  const subject = postgresSubject(false)
  beforeAll(() => subject.start())
  afterAll(() => subject.close())
  testTransport(concurrently, subject, conformanceCases.filter(({ family, name }) => family !== 'faults' && name !== TOO_FAST))
})
