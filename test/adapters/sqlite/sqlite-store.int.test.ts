import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Workplace, until } from './sqlite-rig.ts'

let place: Workplace
beforeEach(() => {
  place = new Workplace()
  place.database().exec('PRAGMA journal_mode = WAL; CREATE TABLE purchase (id TEXT PRIMARY KEY) STRICT; CREATE TABLE seen (type TEXT, id TEXT) STRICT')
})
afterEach(() => place.clean())

const KILLS = 100
/** Processes that write at the same time. */
const SIDE_BY_SIDE = 2

function rows(sql: string): readonly unknown[] {
  const database = place.database()
  const found = database.prepare(sql).all().map((row) => Object.values(row)[0])
  database.close()
  return found
}

describe('kill -9', () => {
  test(`F62: ${KILLS} times among units of work leaves every committed unit whole, and nothing of any other one`, { timeout: 240_000 }, async () => {
    const said = new Set<string>()
    for (let kill = 0; kill < KILLS; kill += SIDE_BY_SIDE) {
      const children = Array.from({ length: SIDE_BY_SIDE }, () => place.storeChild('flood'))
      await Promise.all(children.map((child) => child.says('committed', 1 + ((kill * 7) % 40))))
      await Promise.all(children.map((child) => child.kill()))
      // The pipe may still hold what was said before the end.
      for (const child of children) for (const { what, id } of child.said) if (what === 'committed' && id !== undefined) said.add(id)
    }
    const purchases = rows('SELECT id FROM purchase ORDER BY id')
    expect(purchases).toStrictEqual(expect.arrayContaining([...said]))
    expect(rows("SELECT substr(name, 7) AS id FROM trunkline_stream WHERE last = 0 ORDER BY id")).toStrictEqual(purchases)
    expect(rows("SELECT substr(id, 10) AS id FROM trunkline_timer ORDER BY id")).toStrictEqual(purchases)
    expect(rows("SELECT json_extract(CAST(body AS TEXT), '$.orderId') AS id FROM trunkline_outbox ORDER BY id")).toStrictEqual(purchases)
    // Positions and ids have no gaps, whatever was rolled back.
    const count = purchases.length
    expect(rows('SELECT max(position) FROM trunkline_event')).toStrictEqual([count])
    expect(rows('SELECT max(id) FROM trunkline_outbox')).toStrictEqual([count])
    expect(rows('PRAGMA integrity_check')).toStrictEqual(['ok'])
    expect(said.size).toBeGreaterThan(KILLS)
  })

  test('between the commit and the ack, the effect of a message happens once', { timeout: 60_000 }, async () => {
    const first = place.storeChild('serve', 'o-1', 'send', 'die')
    await first.says('dies')
    await first.ended()
    expect(rows('SELECT id FROM purchase')).toStrictEqual(['o-1'])
    // Not acked: it comes again, and its mark tells that it was handled.
    expect(place.count("SELECT count(*) FROM trunkline_delivery AS d JOIN trunkline_message AS m ON m.seq = d.seq WHERE m.attributes LIKE '%place-order%'")).toBe(1)
    const second = place.storeChild('serve')
    await second.says('ready')
    await until(() => place.count('SELECT count(*) FROM trunkline_delivery') === 0 && place.count('SELECT count(*) FROM trunkline_timer') === 0, 'everything is handled')
    expect(second.said.filter(({ what }) => what === 'handled')).toStrictEqual([])
    expect(rows('SELECT id FROM purchase')).toStrictEqual(['o-1'])
    expect(rows('SELECT type FROM seen ORDER BY type')).toStrictEqual(['shop.order-placed', 'shop.order-reminded'])
    expect(rows('PRAGMA integrity_check')).toStrictEqual(['ok'])
  })
})
