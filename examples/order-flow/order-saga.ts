import { type SagaDefinition, saga } from 'trunkline'
import { z } from 'zod'
import {
  GivePaymentBack, GoodsTakenBack, OrderCalledOff, OrderPlaced, OrderShipped, PaymentDeclined, PaymentGivenBack, PaymentTaken, ReleaseStock, ReserveStock, ShipOrder,
  StockRefused, StockReleased, StockReserved, TakeGoodsBack, TakePayment, orderOf,
} from './order-contracts.ts'

/** Time for an answer where nobody is expected to be slow: services are killed and started again in between. */
export const ANSWER_MS = 120_000
/** Time for the payment of a customer without patience. When it is over, nobody knows whether the payment was made. */
export const PATIENCE_MS = 1_500

const OrderState = z.object({ orderId: z.string(), amount: z.string(), payWithinMs: z.int(), lines: z.array(z.object({ stockCode: z.string(), pieces: z.int().positive() })) })

const correlate = orderOf
const because = ({ why }: { readonly why: string }): string => why

/**
 * Reserve, pay, ship. What was done is undone in reverse order when a later step fails or the customer calls the order off, also after it was shipped. An order
 * that is called off before it was placed never begins.
 */
export const orderSaga: SagaDefinition = saga('order', { state: OrderState })
  .startedBy(OrderPlaced, { correlate, state: (placed) => placed })
  .cancelledBy(OrderCalledOff, { correlate, because: ({ invoiceNo }) => `called off by ${invoiceNo}`, afterEnd: 'compensate' })
  .step('reserve', { timeoutMs: ANSWER_MS }, (step) => step
    .send(ReserveStock, ({ orderId, lines }) => ({ orderId, lines }))
    .on(StockReserved, { correlate })
    .fails(StockRefused, { correlate, because })
    .compensate({ timeoutMs: ANSWER_MS }, (undo) => undo.send(ReleaseStock, ({ orderId }) => ({ orderId })).on(StockReleased, { correlate })))
  .step('pay', { timeout: ({ payWithinMs }) => ({ afterMs: payWithinMs }) }, (step) => step
    .send(TakePayment, ({ orderId, amount }) => ({ orderId, amount }))
    .on(PaymentTaken, { correlate })
    .fails(PaymentDeclined, { correlate, because })
    .compensate({ timeoutMs: ANSWER_MS }, (undo) => undo.send(GivePaymentBack, ({ orderId }) => ({ orderId })).on(PaymentGivenBack, { correlate })))
  .step('ship', { timeoutMs: ANSWER_MS }, (step) => step
    .send(ShipOrder, ({ orderId }) => ({ orderId }))
    .on(OrderShipped, { correlate })
    .compensate({ timeoutMs: ANSWER_MS }, (undo) => undo.send(TakeGoodsBack, ({ orderId }) => ({ orderId })).on(GoodsTakenBack, { correlate })))
  .end()
