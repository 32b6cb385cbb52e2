import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { LightDelivery, LightPlane, LightReply, Transport } from '../../../src/bus/port.ts'
import { wireMessage } from '../wire-messages.ts'
import { Workplace, event, publish, until } from './sqlite-rig.ts'

let place: Workplace
beforeEach(() => {
  place = new Workplace()
})
afterEach(() => place.clean())

function plane(transport: Transport): LightPlane {
  if (transport.light === undefined) throw new Error('no light plane')
  return transport.light
}

/** Answers to the requests of a transport, by token. */
function replies(transport: Transport): Map<string, LightReply> {
  const found = new Map<string, LightReply>()
  plane(transport).onReply((token, reply) => found.set(token, reply))
  return found
}

const question = wireMessage({ id: 'question', type: 'tests.price-quoted' })

describe('broadcast', () => {
  test('reaches every instance that listens, the own one included, and nobody else', async () => {
    const [one, two, three] = [await place.transport(), await place.transport(), await place.transport()]
    const heard: string[] = []
    for (const [name, transport] of [['one', one], ['two', two]] as const) {
      await plane(transport).onBroadcast(['tests.thing-happened'], ({ message, replyTo }) => heard.push(`${name} ${message.id} ${replyTo}`))
    }
    await plane(three).onBroadcast(['tests.other-happened'], () => heard.push('three'))
    await plane(one).broadcast(wireMessage({ id: 'news' }))
    await until(() => heard.length === 2)
    expect(heard.toSorted()).toStrictEqual(['one news undefined', 'two news undefined'])
  })

  test('brings durably published events while the subscription lives, and leaves no rows behind', async () => {
    const [one, two] = [await place.transport(), await place.transport()]
    const heard: string[] = []
    const listening = await plane(two).onBroadcast(['tests.thing-happened'], ({ message }) => heard.push(message.id))
    await publish(one, event({ id: 'durable' }))
    await until(() => heard.length === 1)
    await listening.close()
    await listening.close()
    await publish(one, event({ id: 'later' }))
    expect(heard).toStrictEqual(['durable'])
    expect(place.count('SELECT (SELECT count(*) FROM trunkline_light) + (SELECT count(*) FROM trunkline_message)')).toBe(0)
  })

  test('gives each subscription of one instance its own copy, and a sink that throws harms no other', async () => {
    const transport = await place.transport()
    const heard: LightDelivery[] = []
    await plane(transport).onBroadcast(['tests.thing-happened'], () => {
      throw new Error('a sink of the test')
    })
    const second = await plane(transport).onBroadcast(['tests.thing-happened', 'tests.other-happened'], (delivery) => heard.push(delivery))
    await plane(transport).broadcast(wireMessage({ id: 'a' }))
    await plane(transport).broadcast(wireMessage({ id: 'b', type: 'tests.other-happened' }))
    await until(() => heard.length === 2)
    expect(heard.map((each) => each.message.id)).toStrictEqual(['a', 'b'])
    await second.close()
  })
})

describe('request and reply', () => {
  test('brings an answer back to the one who asked', async () => {
    const [asking, answering] = [await place.transport(), await place.transport()]
    const found = replies(asking)
    await plane(answering).onRequest('tests.price-quoted', ({ message, replyTo }) => {
      void plane(answering).reply(replyTo ?? '', wireMessage({ id: `answer-to-${message.id}`, outcome: 'ok' }))
    })
    await plane(asking).request(question, 'token-1')
    await until(() => found.has('token-1'))
    expect(found.get('token-1')).toMatchObject({ kind: 'reply', message: { id: 'answer-to-question', outcome: 'ok' } })
  })

  test('says that nobody answers', async () => {
    const transport = await place.transport()
    const found = replies(transport)
    await plane(transport).request(question, 'token-1')
    await until(() => found.has('token-1'))
    expect(found.get('token-1')).toStrictEqual({ kind: 'no-responder' })
  })

  test('shares questions between the instances that answer', async () => {
    const [asking, one, two] = [await place.transport(), await place.transport(), await place.transport()]
    const found = replies(asking)
    const asked = { one: 0, two: 0 }
    for (const [name, transport] of [['one', one], ['two', two]] as const) {
      await plane(transport).onRequest('tests.price-quoted', ({ replyTo }) => {
        asked[name]++
        void plane(transport).reply(replyTo ?? '', wireMessage())
      })
    }
    await Promise.all(Array.from({ length: 60 }, async (_, number) => await plane(asking).request(question, `token-${number}`)))
    await until(() => found.size === 60)
    expect(asked.one + asked.two).toBe(60)
    expect(Math.min(asked.one, asked.two)).toBeGreaterThan(0)
  })

  test('answers through the address for messages of the durable plane', async () => {
    const [asking, answering] = [await place.transport(), await place.transport()]
    const found = replies(asking)
    await plane(answering).reply(plane(asking).replyAddress('token-9'), wireMessage({ id: 'late' }))
    await until(() => found.has('token-9'))
    expect(found.get('token-9')).toMatchObject({ message: { id: 'late' } })
  })

  test('drops an answer to somebody who is gone', async () => {
    const [asking, answering] = [await place.transport(), await place.transport()]
    const address = plane(asking).replyAddress('token-1')
    await asking.close()
    await plane(answering).reply(address, wireMessage())
    await plane(answering).reply('no address at all', wireMessage())
    expect(place.count('SELECT count(*) FROM trunkline_light')).toBe(0)
  })

  test('tells the one who asked when the answering process was killed before it took the question', async () => {
    const asking = await place.transport()
    const found = replies(asking)
    const answering = place.child('answer')
    await answering.says('ready')
    answering.signal('SIGSTOP')
    await plane(asking).request(question, 'token-1')
    await answering.kill()
    await until(() => found.has('token-1'))
    expect(found.get('token-1')).toStrictEqual({ kind: 'no-responder' })
    expect(place.count('SELECT (SELECT count(*) FROM trunkline_light) + (SELECT count(*) FROM trunkline_listener)')).toBe(0)
  })

  test('works between processes', async () => {
    const asking = await place.transport()
    const found = replies(asking)
    const answering = place.child('answer')
    await answering.says('ready')
    await plane(asking).request(question, 'token-1')
    await until(() => found.has('token-1'))
    const reply = found.get('token-1')
    expect(reply?.kind === 'reply' ? Buffer.from(reply.message.body).toString() : '').toBe(`${answering.pid}`)
  })
})

test('keeps its address while it is open', async () => {
  const [one, two] = [await place.transport(), await place.transport()]
  expect(plane(one).address).not.toBe('')
  expect(plane(one).address).not.toBe(plane(two).address)
  expect(plane(one).replyAddress('t')).toBe(`${plane(one).address}/t`)
})
