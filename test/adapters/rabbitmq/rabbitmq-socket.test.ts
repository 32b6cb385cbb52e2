import { expect, test } from 'vitest'
import { joinWrites } from '../../../src/adapters/rabbitmq/rabbitmq-socket.ts'

test('joins the writes of one run and holds none back beyond it', async () => {
  const log: string[] = []
  const stream = { write: (text: string) => log.push(text), cork: () => log.push('cork'), uncork: () => log.push('uncork') }
  joinWrites({ connection: { stream } })
  stream.write('a')
  stream.write('b')
  await Promise.resolve()
  stream.write('c')
  await Promise.resolve()
  expect(log).toEqual(['cork', 'a', 'b', 'uncork', 'cork', 'c', 'uncork'])
})

test('leaves a connection alone that shows no socket', () => {
  for (const odd of [undefined, null, 7, {}, { connection: {} }, { connection: { stream: { write: 1 } } }]) expect(() => joinWrites(odd)).not.toThrow()
})
