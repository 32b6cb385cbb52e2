import type { NatsConnection as NewerConnection } from '@nats-io/transport-node'
import type { NatsConnection as OlderConnection } from 'nats'
import { expectTypeOf, test } from 'vitest'
import type { NatsConnection, NatsOptions } from '../../../src/adapters/nats/index.ts'

test('connections of both clients can be given', () => {
  expectTypeOf<OlderConnection>().toExtend<NatsConnection>()
  expectTypeOf<NewerConnection>().toExtend<NatsConnection>()
  expectTypeOf<{ connection: OlderConnection; namespace: string }>().toExtend<NatsOptions>()
  expectTypeOf<{ namespace: string }>().not.toExtend<NatsOptions>()
})
