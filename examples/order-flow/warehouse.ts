import type { SqliteHandle } from 'trunkline/sqlite'
import { GoodsTakenBack, OrderShipped, ReleaseStock, ReserveStock, ShipOrder, StockRefused, StockReleased, StockReserved, TakeGoodsBack } from './order-contracts.ts'
import { type OpenService, type ServiceSetup, isOrderOfRun } from './service.ts'
import { spread } from './luck.ts'

/** Pieces of an article that there are at first: some are soon sold out. */
const PIECES_MIN = 150
const PIECES_RANGE = 600

/** `goods` and `shipments` hold what was done, without a key that would refuse a second effect; `levels` and `reservations` how it stands. */
export const WAREHOUSE_TABLES = `
  CREATE TABLE IF NOT EXISTS levels (stock_code TEXT PRIMARY KEY, at_first INTEGER NOT NULL, pieces INTEGER NOT NULL CHECK (pieces >= 0)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS reservations (order_id TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS goods (
    movement INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT NOT NULL, position INTEGER NOT NULL, order_id TEXT NOT NULL, stock_code TEXT NOT NULL, pieces INTEGER NOT NULL
  );
  CREATE INDEX IF NOT EXISTS goods_by_order ON goods (order_id);
  CREATE TABLE IF NOT EXISTS shipments (message_id TEXT NOT NULL, order_id TEXT NOT NULL, parcels INTEGER NOT NULL);
`

interface OrderLine {
  readonly stockCode: string
  readonly pieces: number
}

/** One message's hand on the shelves. */
class Shelves {
  readonly #tx: SqliteHandle
  readonly #messageId: string
  readonly #orderId: string

  constructor(tx: SqliteHandle, messageId: string, orderId: string) {
    this.#tx = tx
    this.#messageId = messageId
    this.#orderId = orderId
  }

  get state(): string | undefined {
    const row = this.#tx.prepare('SELECT state FROM reservations WHERE order_id = ?').get(this.#orderId)
    return row === undefined ? undefined : String(row['state'])
  }

  set state(state: string) {
    this.#tx.prepare('INSERT INTO reservations VALUES (?, ?) ON CONFLICT DO UPDATE SET state = excluded.state').run(this.#orderId, state)
  }

  /** The first article that there are not enough pieces of. */
  missing(lines: readonly OrderLine[]): string | undefined {
    return lines.find(({ stockCode, pieces }) => this.#level(stockCode) < pieces)?.stockCode
  }

  #level(stockCode: string): number {
    const atFirst = PIECES_MIN + spread(stockCode, PIECES_RANGE)
    this.#tx.prepare('INSERT INTO levels VALUES (?, ?, ?) ON CONFLICT DO NOTHING').run(stockCode, atFirst, atFirst)
    return Number(this.#tx.prepare('SELECT pieces FROM levels WHERE stock_code = ?').get(stockCode)?.['pieces'])
  }

  take(lines: readonly OrderLine[]): void {
    for (const [at, { stockCode, pieces }] of lines.entries()) this.#move(at + 1, stockCode, -pieces)
  }

  /** Everything of the order that is not on the shelves. */
  putBack(): void {
    const out = this.#tx.prepare('SELECT stock_code, -sum(pieces) AS pieces FROM goods WHERE order_id = ? GROUP BY stock_code HAVING sum(pieces) <> 0').all(this.#orderId)
    for (const [at, row] of out.entries()) this.#move(at + 1, String(row['stock_code']), Number(row['pieces']))
  }

  #move(position: number, stockCode: string, pieces: number): void {
    this.#tx.prepare('INSERT INTO goods (message_id, position, order_id, stock_code, pieces) VALUES (?, ?, ?, ?, ?)').run(this.#messageId, position, this.#orderId, stockCode, pieces)
    this.#tx.prepare('UPDATE levels SET pieces = pieces + ? WHERE stock_code = ?').run(pieces, stockCode)
  }

  parcel(count: number): void {
    this.#tx.prepare('INSERT INTO shipments VALUES (?, ?, ?)').run(this.#messageId, this.#orderId, count)
  }
}

/** Reserves and ships, and undoes both. A command to undo what was never done keeps it from being done later. */
export function subscribeWarehouse({ bus, store }: OpenService, setup: ServiceSetup): void {
  bus.handle(ReserveStock, { within: store }, ({ id, data: { orderId, lines } }, { tx, publish }) => {
    if (!isOrderOfRun(setup, orderId)) return
    const shelves = new Shelves(tx, id, orderId)
    const missing = shelves.state === undefined ? shelves.missing(lines) : undefined
    if (shelves.state === undefined && missing === undefined) {
      shelves.take(lines)
      shelves.state = 'reserved'
    } else shelves.state ??= 'refused'
    if (shelves.state === 'reserved') publish(StockReserved, { orderId })
    else publish(StockRefused, { orderId, why: missing === undefined ? 'the order is over' : `there is not enough of ${missing}` })
  })
  bus.handle(ReleaseStock, { within: store }, ({ id, data: { orderId } }, { tx, publish }) => {
    if (!isOrderOfRun(setup, orderId)) return
    const shelves = new Shelves(tx, id, orderId)
    shelves.putBack()
    shelves.state = 'released'
    publish(StockReleased, { orderId })
  })
  bus.handle(ShipOrder, { within: store }, ({ id, data: { orderId } }, { tx, publish }) => {
    if (!isOrderOfRun(setup, orderId)) return
    const shelves = new Shelves(tx, id, orderId)
    // Called off meanwhile: nobody waits for an answer any more.
    if (shelves.state !== 'reserved') return
    shelves.parcel(1)
    shelves.state = 'shipped'
    publish(OrderShipped, { orderId })
  })
  bus.handle(TakeGoodsBack, { within: store }, ({ id, data: { orderId } }, { tx, publish }) => {
    if (!isOrderOfRun(setup, orderId)) return
    const shelves = new Shelves(tx, id, orderId)
    if (shelves.state === 'shipped') shelves.parcel(-1)
    shelves.state = 'back'
    publish(GoodsTakenBack, { orderId })
  })
}
