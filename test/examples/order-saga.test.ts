import { describe, expect, test } from 'vitest'
import { COLUMNS } from '../../examples/order-flow/invoices.ts'
import {
  GivePaymentBack, GoodsTakenBack, OrderCalledOff, OrderPlaced, OrderShipped, PaymentDeclined, PaymentGivenBack, PaymentTaken, ReleaseStock, ReserveStock, ShipOrder,
  StockRefused, StockReleased, StockReserved, TakeGoodsBack, TakePayment,
} from '../../examples/order-flow/order-contracts.ts'
import { PATIENCE_MS, orderSaga } from '../../examples/order-flow/order-saga.ts'
import { callOffsOf } from '../../examples/order-flow/placing.ts'
import { givenSaga, message } from '../../src/testing/index.ts'

const order = { orderId: 'run.536365.2' }
const lines = [{ stockCode: '85123A', pieces: 6 }]
const off = { ...order, invoiceNo: 'C536379' }
const fresh = givenSaga(orderSaga)
const placed = fresh.when(OrderPlaced, { ...order, lines, amount: '15.30', payWithinMs: PATIENCE_MS })
const reserved = placed.when(StockReserved, order)
const paid = reserved.when(PaymentTaken, order)
const shipped = paid.when(OrderShipped, order)

describe('an order', () => {
  test('is reserved, paid and shipped', () => {
    placed.thenSends(message(ReserveStock, { ...order, lines }))
    reserved.thenSends(message(TakePayment, { ...order, amount: '15.30' })).thenAlarms({ 'step:pay': PATIENCE_MS })
    paid.thenSends(message(ShipOrder, order))
    shipped.thenSends().thenEnds('completed').thenAlarms({})
  })

  test('ends where there is not enough stock, and has nothing to undo', () => {
    placed.when(StockRefused, { ...order, why: 'there is not enough of 85123A' }).thenSends().thenEnds('compensated', 'reserve: there is not enough of 85123A')
  })

  test('gives its stock back where the payment is declined', () => {
    reserved.when(PaymentDeclined, { ...order, why: 'the bank says no' }).thenSends(message(ReleaseStock, order)).when(StockReleased, order).thenEnds('compensated', 'pay: the bank says no')
  })

  test('gives back a payment that nobody knows of, and one that is told of afterwards once more', () => {
    const ended = reserved.advance(PATIENCE_MS).thenSends(message(GivePaymentBack, order)).when(PaymentGivenBack, order).thenSends(message(ReleaseStock, order)).when(StockReleased, order)
    ended.thenEnds('compensated')
    ended.when(PaymentTaken, order).thenSends(message(GivePaymentBack, order)).when(PaymentGivenBack, order).thenEnds('compensated')
  })

  test('that is called off before it was placed never begins', () => {
    fresh.when(OrderCalledOff, off).thenSends().when(OrderPlaced, { ...order, lines, amount: '15.30', payWithinMs: PATIENCE_MS }).thenSends().thenEnds('cancelled', 'called off by C536379')
  })

  test('that is called off on its way is undone as far as it got', () => {
    paid.when(OrderCalledOff, off).thenSends(message(TakeGoodsBack, order)).when(GoodsTakenBack, order).thenSends(message(GivePaymentBack, order))
      .when(PaymentGivenBack, order).thenSends(message(ReleaseStock, order)).when(StockReleased, order).thenEnds('cancelled', 'called off by C536379')
  })

  test('that is called off after it was shipped is undone as a whole', () => {
    shipped.when(OrderCalledOff, off).thenSends(message(TakeGoodsBack, order)).when(GoodsTakenBack, order).when(PaymentGivenBack, order).when(StockReleased, order).thenEnds('cancelled')
  })
})

describe('cancellations of the file', () => {
  async function callOffs(...records: readonly (readonly [invoiceNo: string, customer: string, quantity: number])[]): Promise<readonly unknown[]> {
    const text = [COLUMNS.join(','), ...records.map(([no, customer, quantity]) => `${no},85123A,LANTERN,${quantity},2010-12-01T08:26:00Z,2.55,${customer},France`), ''].join('\n')
    async function* chunks(): AsyncGenerator<Buffer> {
      yield await Promise.resolve(Buffer.from(text))
    }
    return [...(await callOffsOf(chunks))]
  }

  test('call off the last order of their customer, each order once', async () => {
    expect(await callOffs(['1', 'ann', 1], ['2', 'bob', 1], ['3', 'ann', 2], ['C4', 'ann', -1], ['C5', 'ann', -1], ['C6', 'bob', -1])).toEqual([
      [4, { invoiceNo: 'C4', when: 'before' }], [3, { invoiceNo: 'C6', when: 'during' }],
    ])
  })

  test('of nobody, of customers without an order, and of corrections call nothing off', async () => {
    expect(await callOffs(['1', '', 1], ['C2', '', -1], ['C3', 'ann', -1], ['4', 'ann', -5], ['C5', 'ann', -1])).toEqual([])
  })
})
