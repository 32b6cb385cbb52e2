import type { SagaPart, SagaShape } from './definition.ts'
import type { NodePlan, StepPlan, StepsPlan } from './step-plan.ts'

/** What a line of steps is made of, for drawings. */
export function shapeOf(plan: StepsPlan, starts: readonly string[]): SagaShape {
  const steps = plan.nodes.flatMap((node) => (node.kind === 'group' ? node.members : [node]))
  const outcomes = steps.flatMap((step) => [...step.outcomes, ...(step.compensation?.outcomes ?? [])])
  const acts = steps.flatMap((step) => [step.act, step.compensation?.act]).filter((act) => act !== undefined)
  const cancels = plan.cancels.map(({ contract }) => contract.type)
  return {
    form: 'steps', starts, cancels,
    parts: plan.nodes.map(partOf),
    inputs: unique([...starts, ...outcomes.map(({ contract }) => contract.type), ...cancels]),
    outputs: unique(acts.map(({ contract }) => contract.type)),
    timers: steps.filter(({ hasTimeout }) => hasTimeout).map(({ name }) => name),
  }
}

function partOf(node: NodePlan): SagaPart {
  if (node.kind === 'group') return { kind: 'group', name: node.name, need: node.need, members: node.members.map(stepOf) }
  return stepOf(node)
}

function stepOf(step: StepPlan): SagaPart {
  const { name, act, outcomes, hasTimeout, timesOut, compensation } = step
  const kind = act === undefined && timesOut === 'completes' ? 'wait' : outcomes.length === 0 && act?.contract.kind === 'event' ? 'publish' : 'step'
  return {
    kind, name,
    sends: act?.contract.type,
    outcomes: outcomes.map(({ contract, isFailure }) => ({ type: contract.type, leads: isFailure ? 'back' : 'on' })),
    timeout: hasTimeout ? timesOut : undefined,
    compensation: compensation === undefined ? undefined : { sends: compensation.act.contract.type, outcomes: compensation.outcomes.map(({ contract }) => contract.type) },
    isConditional: step.when !== undefined,
    isRepeated: step.whilst !== undefined,
    saga: step.saga,
  }
}

function unique(names: readonly string[]): readonly string[] {
  return [...new Set(names)]
}
