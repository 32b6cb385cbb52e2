import { expect, test, vi } from 'vitest'
import { PgDatabase } from '../../../src/adapters/postgres/postgres-database.ts'
import { PgDeliveries } from '../../../src/adapters/postgres/postgres-deliveries.ts'
import { PgLink } from '../../../src/adapters/postgres/postgres-link.ts'
import { settingsFrom } from '../../../src/adapters/postgres/postgres-options.ts'
import { PgSettler } from '../../../src/adapters/postgres/postgres-settler.ts'
import { PgSubscription } from '../../../src/adapters/postgres/postgres-subscription.ts'
import { PgTransportLocks } from '../../../src/adapters/postgres/postgres-transport-locks.ts'
import type { Subscription, TransportHost } from '../../../src/bus/port.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { virtualClock } from '../../../src/testing/virtual-clock.ts'

test('a subscription over a link that was closed tries once, and does not turn round for ever', async () => {
  const clock = virtualClock()
  const host: TransportHost = { service: 'shop', instance: 'shop-1', clock, random: seededRandom(1), logger: silentLogger, report: () => undefined }
  const link = new PgLink(new PgDatabase(settingsFrom({ connectionString: 'postgres://127.0.0.1:1/none' })), host, { onUp: () => undefined, onDown: () => undefined })
  await link.close()
  let tries = 0
  // Without an end it would let nothing else happen in this process.
  vi.spyOn(link, 'recovered').mockImplementation(() => (++tries > 100 ? new Promise<void>(() => undefined) : Promise.resolve()))
  const deliveries = new PgDeliveries('trunkline')
  const locks = new PgTransportLocks('trunkline')
  const settler = new PgSettler({ link, host, deliveries, locks, instanceId: () => '1', onSettled: () => undefined })
  const wanted: Subscription = { group: 'shop.work', kind: 'event', types: ['sales.order-placed'], from: 'new', order: 'none', inFlightMax: 4, handlerTimeoutMs: 30_000 }
  const subscription = new PgSubscription(wanted, () => undefined, { groupId: 1, memberId: '1', instanceId: '1', isOrdered: false }, {
    link, host, deliveries, locks, settler, leaseMs: 15_000, onClaimed: () => undefined, onPutOut: () => undefined, onClosed: () => undefined,
  })
  subscription.restore()
  await clock.settle()
  expect(tries).toBe(1)
})
