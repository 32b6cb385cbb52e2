import { command, event } from 'trunkline'
import { z } from 'zod'

// What the services say about one order, from its placing to its end.

const decimal = z.string().regex(/^-?\d{1,30}(?:\.\d{1,9})?$/)
const order = z.object({ orderId: z.string().min(1).max(60) })
const lines = z.array(z.object({ stockCode: z.string().min(1).max(40), pieces: z.int().positive() })).min(1).max(250)
const refusal = order.extend({ why: z.string().max(200) })

/** Tells the order that a message is about. */
export function orderOf(data: { readonly orderId: string }): string {
  return data.orderId
}

const keyed = { key: orderOf } as const

/** A customer wants goods for a sum, and waits for so long until it is paid. */
export const OrderPlaced = event('sales.order-placed', { schema: order.extend({ lines, amount: decimal, payWithinMs: z.int().positive() }), ...keyed })
/** A customer does not want them any more. */
export const OrderCalledOff = event('sales.order-called-off', { schema: order.extend({ invoiceNo: z.string().max(20) }), ...keyed })

/** Keep goods for an order. */
export const ReserveStock = command('inventory.reserve-stock', { schema: order.extend({ lines }), ...keyed })
export const StockReserved = event('inventory.stock-reserved', { schema: order, ...keyed })
export const StockRefused = event('inventory.stock-refused', { schema: refusal, ...keyed })
/** Put them back; what was never kept will not be. */
export const ReleaseStock = command('inventory.release-stock', { schema: order, ...keyed })
export const StockReleased = event('inventory.stock-released', { schema: order, ...keyed })
/** Send what was kept to the customer. */
export const ShipOrder = command('inventory.ship-order', { schema: order, ...keyed })
export const OrderShipped = event('inventory.order-shipped', { schema: order, ...keyed })
/** Fetch it back; what was never sent will not be. */
export const TakeGoodsBack = command('inventory.take-goods-back', { schema: order, ...keyed })
export const GoodsTakenBack = event('inventory.goods-taken-back', { schema: order, ...keyed })

/** Charge the customer. */
export const TakePayment = command('billing.take-payment', { schema: order.extend({ amount: decimal }), ...keyed })
export const PaymentTaken = event('billing.payment-taken', { schema: order, ...keyed })
export const PaymentDeclined = event('billing.payment-declined', { schema: refusal, ...keyed })
/** Give the money back; what was never taken will not be. */
export const GivePaymentBack = command('billing.give-payment-back', { schema: order, ...keyed })
export const PaymentGivenBack = event('billing.payment-given-back', { schema: order, ...keyed })
