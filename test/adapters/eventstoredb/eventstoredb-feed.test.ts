import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import type { EsdbPosition, EsdbResolved, EsdbSubscription } from '../../../src/adapters/eventstoredb/eventstoredb-client.ts'
import { EsdbFeed, type FeedItem } from '../../../src/adapters/eventstoredb/eventstoredb-feed.ts'
import { EsdbLink } from '../../../src/adapters/eventstoredb/eventstoredb-link.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { silentLogger } from '../../../src/core/logger.ts'

/** A subscription as the client's: it tells checkpoints while events are still in its buffer. */
class FakeSubscription extends Readable implements EsdbSubscription {
  unsubscribed = 0

  constructor() {
    super({ objectMode: true, read: () => undefined })
  }

  give(n: number): void {
    this.push({ event: { streamId: 's', id: `${n}`, revision: BigInt(n), type: 't', data: {}, isJson: true, created: new Date(0), position: { commit: BigInt(n), prepare: BigInt(n) } } } satisfies EsdbResolved)
  }

  unsubscribe(): Promise<void> {
    this.unsubscribed++
    return Promise.resolve()
  }
}

interface Rig {
  readonly feed: EsdbFeed
  readonly subscription: FakeSubscription
  readonly checkpoint: (position: number) => Promise<void>
}

function open(room = 100): Rig {
  const link = new EsdbLink({ clock: systemClock, logger: silentLogger, report: () => {} }, () => expect.unreachable(), { callTimeoutMs: 100, credentials: undefined })
  const subscription = new FakeSubscription()
  let tell: (subscription: unknown, position: EsdbPosition) => Promise<void> = () => Promise.resolve()
  const feed = new EsdbFeed(link, room, (onCheckpoint) => {
    tell = onCheckpoint
    return subscription
  })
  return { feed, subscription, checkpoint: (position) => tell(subscription, { commit: BigInt(position), prepare: BigInt(position) }) }
}

async function taken(feed: EsdbFeed, count: number): Promise<readonly string[]> {
  const found: string[] = []
  while (found.length < count) {
    const item: FeedItem | undefined = feed.poll()
    if (item === undefined) await feed.arrived(1_000, new AbortController().signal)
    else found.push(item.kind === 'event' ? `event ${item.event.revision}` : item.kind === 'checkpoint' ? `checkpoint ${item.position}` : item.kind)
  }
  return found
}

test('a checkpoint and the news of having caught up come behind the events that are still in the buffer (E-08)', async () => {
  const { feed, subscription, checkpoint } = open()
  subscription.give(1)
  subscription.give(2)
  await checkpoint(2)
  subscription.give(3)
  subscription.emit('caughtUp')
  expect(await taken(feed, 5)).toEqual(['event 1', 'event 2', 'checkpoint 2', 'event 3', 'caughtUp'])
  await checkpoint(9)
  expect(await taken(feed, 1)).toEqual(['checkpoint 9'])
  feed.close()
})

test('a feed with no room takes no more from its subscription', async () => {
  const { feed, subscription } = open(2)
  for (const n of [1, 2, 3, 4, 5, 6]) subscription.give(n)
  expect(await taken(feed, 1)).toEqual(['event 1'])
  expect(subscription.readableLength).toBeGreaterThan(0)
  expect(await taken(feed, 5)).toEqual(['event 2', 'event 3', 'event 4', 'event 5', 'event 6'])
  feed.close()
})

test('an end in order and an error are told, and close ends it at the server (guards 8 and 10)', async () => {
  const first = open()
  first.subscription.push(null)
  expect(await taken(first.feed, 1)).toEqual(['ended'])
  expect(first.subscription.unsubscribed).toBe(1)
  const second = open()
  second.subscription.destroy(new Error('broken'))
  expect(await taken(second.feed, 1)).toEqual(['ended'])
  const third = open()
  third.feed.close()
  expect(third.subscription.unsubscribed).toBe(1)
})
