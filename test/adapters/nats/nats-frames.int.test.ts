import { connect as connectNewer } from '@nats-io/transport-node'
import { connect as connectOlder } from 'nats'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { NatsConnection, NatsMessage } from '../../../src/adapters/nats/nats-client.ts'
import { NatsFrames } from '../../../src/adapters/nats/nats-frames.ts'
import { HeaderBlock } from '../../../src/adapters/nats/nats-headers.ts'
import { natsServer } from '../../servers/nats-server.ts'
import type { ServerProcess } from '../../servers/server-process.ts'
import { messageOf, openRig } from './nats-rig.ts'

let server: ServerProcess

beforeAll(async () => {
  server = await natsServer()
  await server.start()
})
afterAll(async () => await server.close())

const said = ({ subject, reply, headers, data }: NatsMessage): unknown => ({ subject, reply: reply ?? '', headers: [...(headers ?? [])], body: Buffer.from(data).toString() })

test.each<readonly [string, (options: { servers: string }) => Promise<NatsConnection>]>([
  ['nats', connectOlder],
  ['@nats-io/transport-node', connectNewer],
])('what is framed arrives as what %s publishes, with and without reply, headers and body, and in one order with it', async (_name, connect) => {
  const connection = await connect({ servers: server.url })
  const frames = NatsFrames.of(connection)
  const seen: unknown[] = []
  connection.subscribe('framed.>', { callback: (_error, message) => void seen.push(said(message)) })
  let count = 0
  for (const reply of [undefined, '_INBOX.x.1']) {
    for (const headers of [undefined, new HeaderBlock('ce-id: 1\r\nnote: n%C3%A9\r\n'), new HeaderBlock('raw: ü\r\n')]) {
      for (const body of ['', '{"a":"ß"}', 'x'.repeat(70_000)]) {
        const payload = Buffer.from(body)
        frames?.publish('framed.a-b', payload, reply, headers)
        connection.publish('framed.a-b', payload, { reply: reply ?? '', headers })
        count += 1
      }
    }
  }
  await connection.flush()
  await connection.close()
  expect(frames).toBeDefined()
  expect(seen).toHaveLength(count * 2)
  for (let index = 0; index < seen.length; index += 2) expect(seen[index]).toEqual(seen[index + 1])
  expect(new Set(seen.map((one) => JSON.stringify(one))).size).toBe(count)
})

test('a client without an entry for bytes, or a server without headers, is used in the ordinary way', () => {
  const bare = { info: { version: '2.9.0', max_payload: 1, headers: true } } as unknown as NatsConnection // only what is looked at
  expect(NatsFrames.of(bare)).toBeUndefined()
  expect(NatsFrames.of({ ...bare, protocol: { sendCommand: () => {} } } as NatsConnection)).toBeDefined()
  expect(NatsFrames.of({ info: { version: '2.1.0', max_payload: 1 }, protocol: { sendCommand: () => {} } } as unknown as NatsConnection)).toBeUndefined()
})

test('a message larger than the server takes is refused before the link is lost to it', async () => {
  const { transport, host } = await openRig({ servers: server.url, namespace: 'large' })
  const sent = transport.light?.broadcast(messageOf('a.b', { body: Buffer.alloc(1_048_577) }))
  await expect(sent).rejects.toMatchObject({ code: 'bus.publish_refused' })
  await transport.close()
  expect(host.states.some(({ state }) => state === 'down')).toBe(false)
})

test.each(['_INBOX.x\r\nPUB framed.evil 0\r\n', 'two words', '', 'a.*', 'a.>', '$JS.API.STREAM.PURGE.LARGE_EVENTS', 'a\tb', 'ü'])('an answer to the address %j is refused and never sent', async (address) => {
  const { transport } = await openRig({ servers: server.url, namespace: 'refused' })
  const connection = await connectOlder({ servers: server.url })
  const seen: string[] = []
  connection.subscribe('framed.>', { callback: (_error, { subject }) => void seen.push(subject) })
  await connection.flush()
  await expect(transport.light?.reply(address, messageOf('a.b'))).rejects.toMatchObject({ code: 'bus.publish_refused' })
  await transport.light?.reply('framed.fine', messageOf('a.b'))
  await transport.close()
  await connection.flush()
  await connection.close()
  expect(seen).toEqual(['framed.fine'])
})
