// A queue against publish and subscribe: who gets a message.
//
// A command is a queue: each one is handled by one instance of one group, however many run. An event goes to
// every group, and inside a group to one instance. A broadcast goes to every instance that listens now.

import { type Bus, command, createBus, event } from 'trunkline'
import { memory, memoryBroker } from 'trunkline/memory'
import { z } from 'zod'

const PackParcel = command('warehouse.pack-parcel', { schema: z.object({ parcel: z.int() }) })
const ParcelPacked = event('warehouse.parcel-packed', { schema: z.object({ parcel: z.int() }) })
const PricesChanged = event('sales.prices-changed', { schema: z.object({ list: z.string() }) })

const PARCELS = 6
// Two packers of one service, and two services that want to know; each bus could be a process of its own.
const broker = memoryBroker()
const heard = new Map<string, number>()
const done = Promise.withResolvers<void>()

function hear(who: string): void {
  heard.set(who, (heard.get(who) ?? 0) + 1)
  const count = (name: string): number => heard.get(name) ?? 0
  const packed = count('packer 1') + count('packer 2')
  const isAll = packed === PARCELS && count('mailer') === PARCELS && count('statistics') === PARCELS
  if (isAll && count('till 1') === 1 && count('till 2') === 1) done.resolve()
}

function packer(number: number): Bus {
  const bus = createBus({ service: { name: 'warehouse' }, transport: memory({ broker }) })
  bus.handle(PackParcel, { inFlightMax: 1 }, async ({ data }) => {
    hear(`packer ${number}`)
    await bus.publish(ParcelPacked, data)
  })
  return bus
}

function till(number: number): Bus {
  const bus = createBus({ service: { name: 'till' }, transport: memory({ broker }) })
  return bus.on(PricesChanged, { broadcast: true }, () => hear(`till ${number}`))
}

const mailer = createBus({ service: { name: 'mailer' }, transport: memory({ broker }) })
mailer.on(ParcelPacked, { group: 'mails' }, () => hear('mailer'))
const statistics = createBus({ service: { name: 'statistics' }, transport: memory({ broker }) })
statistics.on(ParcelPacked, { group: 'counts' }, () => hear('statistics'))

const buses = [packer(1), packer(2), till(1), till(2), mailer, statistics]
await Promise.all(buses.map((bus) => bus.start()))

for (let parcel = 1; parcel <= PARCELS; parcel++) await mailer.send(PackParcel, { parcel })
await mailer.broadcast(PricesChanged, { list: 'autumn' })
await done.promise

const packed = (heard.get('packer 1') ?? 0) + (heard.get('packer 2') ?? 0)
console.log(`queue: ${PARCELS} commands, ${packed} handled by two packers together`)
console.log(`publish and subscribe: the mailer heard ${heard.get('mailer')} events, statistics ${heard.get('statistics')}`)
console.log(`broadcast: till 1 heard ${heard.get('till 1')}, till 2 heard ${heard.get('till 2')}`)
await Promise.all(buses.map((bus) => bus.stop()))
