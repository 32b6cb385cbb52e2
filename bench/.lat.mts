import { postgres } from '/work/main/src/adapters/postgres/index.ts'
import { createBus, silentLogger } from '/work/main/src/index.ts'
import { Order, order } from '/work/main/bench/payload.ts'
const url = 'postgres://postgres@127.0.0.1:55432/postgres'
const mk = (name: string) => createBus({ service: { name }, logger: silentLogger, transport: postgres({ connectionString: url, schema: 'lat' }).transport })
const pub = mk('p'), con = mk('c')
const sent = new Map<string, number>(), e2e: number[] = [], publ: number[] = []
con.on(Order, { group: 'g' }, ({ id }) => { e2e.push(performance.now() - sent.get(id)!) })
await con.start(); await pub.start()
for (let i = 0; i < 400; i++) {
  const t = performance.now(); sent.set(`${i}`, t)
  await pub.publish(Order, order, { id: `${i}` }); publ.push(performance.now() - t)
  await new Promise((r) => setTimeout(r, 10))
}
const q = (a: number[], p: number) => a.slice(50).sort((x, y) => x - y)[Math.floor((a.length-50) * p)]!.toFixed(2)
console.log('publish p50', q(publ, .5), 'p99', q(publ, .99), 'e2e p50', q(e2e, .5), 'p99', q(e2e, .99))
await con.stop(); await pub.stop()
