import { describe } from 'vitest'
import { rabbitmqSubject } from './rabbitmq-subject.ts'
import { testBroker } from './register.ts'

describe('rabbitmq', () => testBroker(rabbitmqSubject))
