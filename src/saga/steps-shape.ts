import type { SagaPart, SagaPartOutcome, SagaPartUndo, SagaShape } from './definition.ts'
import type { CompensationPlan, NodePlan, OutcomePlan, StepPlan, StepsPlan } from './step-plan.ts'

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
    timeoutMs: plan.timeoutMs,
  }
}

function partOf(node: NodePlan): SagaPart {
  if (node.kind === 'group') return { kind: 'group', name: node.name, need: node.need, members: node.members.map(stepOf) }
  return stepOf(node)
}

function stepOf(step: StepPlan): SagaPart {
  const { name, act, outcomes, hasTimeout, timesOut, timeoutMs, tries, onFailure, compensation } = step
  const kind = act === undefined && timesOut === 'completes' ? 'wait' : outcomes.length === 0 && act?.contract.kind === 'event' ? 'publish' : 'step'
  return {
    kind, name,
    sends: act?.contract.type,
    outcomes: outcomes.map(outcomeOf),
    timeout: hasTimeout ? timesOut : undefined,
    timeoutMs,
    attemptsMax: tries.attemptsMax > 1 ? tries.attemptsMax : undefined,
    onFailure: outcomes.length === 0 ? undefined : onFailure,
    compensation: compensation === undefined ? undefined : undoOf(compensation),
    isConditional: step.when !== undefined,
    isRepeated: step.whilst !== undefined,
    saga: step.saga,
  }
}

function undoOf({ act, outcomes, timeoutMs, otherwise }: CompensationPlan): SagaPartUndo {
  return { sends: act.contract.type, outcomes: outcomes.map(outcomeOf), timeoutMs, otherwise }
}

function outcomeOf({ contract, isFailure }: OutcomePlan): SagaPartOutcome {
  return { type: contract.type, leads: isFailure ? 'back' : 'on' }
}

function unique(names: readonly string[]): readonly string[] {
  return [...new Set(names)]
}
